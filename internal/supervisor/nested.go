package supervisor

import "os"

// forbidNamespaces lets nobody in the container make user namespaces, the usual
// first step of an attack on the kernel: a second wall behind the filter. A
// container that was given the rights to run containers keeps them; so does
// keep-id, which needs one namespace more.
//
// The limit is the user namespace's own (namespaces(7), /proc/sys/user); where
// it cannot be set, the filter still stands.
func (s *supervisor) forbidNamespaces() {
	h := s.config.Host
	if h.Privileged || h.Security.Seccomp == "unconfined" || h.KeepID != nil {
		return
	}
	_ = os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
}
