package seccomp

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FromSpec takes the seccomp object of an OCI runtime configuration. The same
// things as in Parse are refused.
func FromSpec(s *specs.LinuxSeccomp) (*Profile, error) {
	if s == nil {
		return nil, fmt.Errorf("seccomp profile: none given")
	}
	doc := profileJSON{
		DefaultAction:    (*string)(&s.DefaultAction),
		DefaultErrnoRet:  s.DefaultErrnoRet,
		ListenerPath:     s.ListenerPath,
		ListenerMetadata: s.ListenerMetadata,
	}
	for _, a := range s.Architectures {
		doc.Architectures = append(doc.Architectures, string(a))
	}
	for _, f := range s.Flags {
		doc.Flags = append(doc.Flags, string(f))
	}
	for _, r := range s.Syscalls {
		doc.Syscalls = append(doc.Syscalls, ruleFrom(r))
	}
	return doc.profile()
}

func ruleFrom(s specs.LinuxSyscall) *ruleJSON {
	r := &ruleJSON{Names: s.Names, Action: (*string)(&s.Action), ErrnoRet: s.ErrnoRet}
	for _, a := range s.Args {
		op := string(a.Op)
		index := a.Index
		r.Args = append(r.Args, &argJSON{Index: &index, Value: a.Value, ValueTwo: a.ValueTwo, Op: &op})
	}
	return r
}
