package network

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnNamespace runs fn on an operating system thread of its own that has
// entered the network namespace behind fd, and returns fn's error. Sockets
// and devices that fn opens belong to that namespace for good; everything
// else in the process stays where it was.
//
// The thread is never handed back to the Go scheduler: the goroutine ends
// locked, so the runtime ends the thread, and no other goroutine can wake up
// in the wrong namespace.
//
// The caller needs CAP_SYS_ADMIN in its own user namespace and in the one
// that owns the network namespace (setns(2)).
func OnNamespace(fd int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("enter network namespace: setns", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// NewNamespace makes an empty network namespace owned by the caller's user
// namespace and returns an open descriptor of it. The namespace lives as
// long as the descriptor or a process in it.
func NewNamespace() (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as in OnNamespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, os.NewSyscallError("make network namespace: unshare", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		done <- result{f, err}
	}()
	r := <-done
	return r.file, r.err
}
