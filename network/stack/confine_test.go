package stack

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// onConfinedThread runs fn where dropRights has been.
func onConfinedThread(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := dropRights()
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestConfinedThread(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	forbidden := map[string]func() error{
		"write a file": func() error { return os.WriteFile(secret, []byte("x"), 0o600) },
		"read a file":  func() error { _, err := os.ReadFile(secret); return err },
		"exec":         func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
		"fork": func() error {
			_, _, e := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
			return number(e)
		},
		"setns":        func() error { return unix.Setns(0, 0) },
		"mount":        func() error { return unix.Mount("none", "/", "", unix.MS_REMOUNT, "") },
		"kill":         func() error { return unix.Kill(unix.Getpid(), 0) },
		"unix socket":  func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
		"packet":       func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err },
		"netlink":      func() error { _, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0); return err },
		"listen":       func() error { return unix.Listen(0, 1) },
		"ptrace":       func() error { return unix.PtraceAttach(1) },
		"raise limits": func() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) },
	}
	allowed := map[string]func() error{
		"tcp":         func() error { fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); unix.Close(fd); return err },
		"udp6":        func() error { fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0); unix.Close(fd); return err },
		"resolv.conf": func() error { _, err := os.ReadFile("/etc/hosts"); return err },
	}
	results := map[string]error{}
	onConfinedThread(t, func() {
		for name, fn := range forbidden {
			results[name] = fn()
		}
		for name, fn := range allowed {
			results[name] = fn()
		}
		runtime.GC()
	})
	for name := range forbidden {
		if results[name] == nil {
			t.Errorf("%s: allowed", name)
		}
	}
	for name := range allowed {
		if results[name] != nil {
			t.Errorf("%s: %v", name, results[name])
		}
	}
	// Other threads are as before.
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Errorf("another thread is confined: %v", err)
	}
}

func number(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}
