package supervisor

import (
	"fmt"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"bryo/sandbox"
	"bryo/seccomp"
)

// deniesKeyrings: with the default profile, whatever the capabilities are.
func (s *supervisor) deniesKeyrings() bool {
	return s.config.Host.Security.Seccomp == "" && !s.config.Host.Privileged
}

// filter is the container's seccomp program, ready to load.
func (s *supervisor) filter(spec *specs.Spec) (sandbox.Filter, error) {
	security := s.config.Host.Security
	options := seccomp.Options{Caps: spec.Process.Capabilities.Bounding, Bypass: s.bypassing()}
	if s.config.Mapping.Single {
		options.Fake = seccomp.FakeSingleUID
	}
	var profile []byte
	switch {
	case security.Seccomp == "unconfined", s.config.Host.Privileged && security.Seccomp == "":
		if !s.config.Mapping.Single && options.Bypass == 0 {
			return sandbox.Filter{}, nil
		}
		// Nothing is refused; the calls that one id cannot serve are still answered, and
		// those that bypass has to see are still seen.
		profile = []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`)
	case security.Seccomp != "":
		profile = []byte(security.Seccomp)
	}
	filter, err := seccomp.ForContainer(profile, options, filepath.Join(s.start.Root, "seccomp"))
	if err != nil {
		return sandbox.Filter{}, fmt.Errorf("seccomp profile: %w", err)
	}
	return sandbox.Filter{Program: filter.Program, Flags: filter.Flags, Listener: s.listener(options.Bypass)}, nil
}
