package confine

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFilter loads filters into threads of their own and makes calls there.
func TestFilter(t *testing.T) {
	socket := func(family int) func() error {
		return func() error {
			fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
			unix.Close(fd)
			return err
		}
	}
	personality := func() error {
		_, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
		return refusal(errno)
	}
	other := func() error {
		_, _, errno := unix.RawSyscall(x32|unix.SYS_GETPID, 0, 0, 0)
		return refusal(errno)
	}
	deny := Begin().End([]uint32{unix.SYS_GETPGID, unix.SYS_PERSONALITY, unix.SYS_SETSID}, Refuse, Allow)
	families := Begin().Sockets(unix.AF_INET, unix.AF_UNIX).End([]uint32{unix.SYS_SOCKET}, Refuse, Allow)
	for name, c := range map[string]struct {
		filter  Filter
		call    func() error
		refused bool
	}{
		"listed":            {deny, personality, true},
		"not listed":        {deny, socket(unix.AF_INET), false},
		"x32":               {deny, other, true},
		"first family":      {families, socket(unix.AF_INET), false},
		"last family":       {families, socket(unix.AF_UNIX), false},
		"another family":    {families, socket(unix.AF_INET6), true},
		"not a socket call": {families, personality, false},
	} {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				t.Error(err)
			}
			if err := c.filter.Load(0); err != nil {
				t.Error(err)
			}
			done <- c.call()
		}()
		if err := <-done; (err == unix.EPERM) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func refusal(errno unix.Errno) error {
	if errno == unix.EPERM {
		return errno
	}
	return nil
}
