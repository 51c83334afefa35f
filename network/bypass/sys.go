package bypass

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connect and bind take addresses in the kernel's own form: what was parsed is
// made anew, and x/sys would drop the flow label and guess at the family.
func connect(fd int, a address) error { return withAddress(unix.SYS_CONNECT, fd, a.bytes()) }
func bind(fd int, a address) error    { return withAddress(unix.SYS_BIND, fd, a.bytes()) }

func withAddress(call uintptr, fd int, name []byte) error {
	_, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)))
	if errno != 0 {
		return errno
	}
	return nil
}

// isErrno looks through wrapping.
func isErrno(err error, want unix.Errno) bool { return errors.Is(err, want) }

// sendTimeout is SO_SNDTIMEO; 0: none.
func sendTimeout(fd int) time.Duration {
	tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO_NEW)
	if err != nil {
		return 0
	}
	return time.Duration(tv.Nano())
}

// errnoOf is the kernel's number in an error; EIO and false without one.
func errnoOf(err error) (unix.Errno, bool) {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno, true
	}
	return unix.EIO, false
}

func getLinger(fd int) (l unix.Linger, err error) {
	size := uint32(unsafe.Sizeof(l))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&l)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return l, errno
	}
	return l, nil
}
