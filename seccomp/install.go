package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Install puts the calling process under a program for good: it sets
// no_new_privs and loads the program into all threads (TSYNC). flags are
// further SECCOMP_FILTER_FLAG_* bits.
//
// This is for bryo's own processes. A container's filter is loaded by its
// last stage, right before exec.
func Install(p Program, flags uint32) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("load seccomp filter: %w", err)
	}
	if flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		return fmt.Errorf("load seccomp filter: use InstallListener for a listener")
	}
	tid, err := load(p, flags|unix.SECCOMP_FILTER_FLAG_TSYNC)
	if err != nil {
		return err
	}
	if tid != 0 {
		return fmt.Errorf("load seccomp filter: thread %d has another filter", tid)
	}
	return nil
}

// InstallListener is Install for a program that asks user space. It returns
// the descriptor of the listener, close-on-exec. All threads are under the
// program, so the listener belongs into another process, or to calls that the
// program does not notify.
func InstallListener(p Program, flags uint32) (*Listener, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("load seccomp filter: %w", err)
	}
	flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	fd, err := load(p, flags)
	if err != nil {
		return nil, err
	}
	return NewListener(fd)
}

// load calls seccomp(2). With TSYNC the result is 0 or the id of a thread
// that could not follow; with NEW_LISTENER it is a descriptor.
func load(p Program, flags uint32) (int, error) {
	// no_new_privs is per thread until TSYNC copies it with the filter.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("set no_new_privs: %w", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, fmt.Errorf("load seccomp filter: %w", errno)
	}
	return int(r), nil
}
