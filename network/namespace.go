package network

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

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
		f, err := UnshareNamespace()
		done <- result{f, err}
	}()
	r := <-done
	return r.file, r.err
}

// UnshareNamespace is NewNamespace for a caller that gives its thread for it: it is
// locked to the goroutine and never unlocked.
func UnshareNamespace() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("make network namespace: unshare", err)
	}
	return os.Open("/proc/thread-self/ns/net")
}

// OpenToUsers lets everybody in the namespace send pings and bind any port, as
// docker's containers may: nothing there is the host's. groups is how many group
// ids the container has, from 0 up; the kernel takes no others.
func OpenToUsers(ns *os.File, groups uint32) error {
	settings := map[string]string{
		"ping_group_range":           "0 " + strconv.FormatUint(uint64(max(groups, 1)-1), 10),
		"ip_unprivileged_port_start": "0",
	}
	return OnNamespace(int(ns.Fd()), func() error {
		for name, value := range settings {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
				return fmt.Errorf("open network namespace to its users: %w", err)
			}
		}
		return nil
	})
}
