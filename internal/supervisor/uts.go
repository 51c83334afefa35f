package supervisor

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// mayName says whether a container's host name can be set. The filter of a
// surrounding container may forbid it; then the name stays that container's, and a
// start does not fail for it. Only asked inside such a filter: elsewhere nothing is
// spent on it.
func mayName() bool {
	if mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err == nil && mode == 0 {
		return true
	}
	answer := make(chan bool)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		answer <- unix.Unshare(unix.CLONE_NEWUTS) == nil && !errors.Is(setLongName(), unix.EPERM)
	}()
	return <-answer
}

// setLongName sets nothing: the kernel looks at the rights first, then at the length.
func setLongName() error { return unix.Sethostname(make([]byte, 65)) }
