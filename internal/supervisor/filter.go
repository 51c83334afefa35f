package supervisor

import "github.com/opencontainers/runtime-spec/specs-go"

func (s *supervisor) filter(*specs.Spec) ([]byte, error) { return nil, nil }
