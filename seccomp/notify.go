package seccomp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listener answers the calls that a program hands to user space. Each caller
// waits in the kernel until its call is answered.
//
// The register values in a Notification are a copy and safe to judge. What
// they point to is not: another thread of the caller can change it after it
// was read, so a call that was judged by memory must be carried out by the
// listener with its own copy (AddFD, Return) and never be continued. See
// seccomp_unotify(2).
type Listener struct {
	file   *os.File
	closed atomic.Bool
}

// NewListener takes over a descriptor that came from the loader of a
// container, e.g. over a socket. The descriptor must not be left open in the
// container: whoever holds it answers the calls.
func NewListener(fd int) (*Listener, error) {
	unix.CloseOnExec(fd)
	// Non-blocking, so that Receive waits in Go's poller and Close wakes it.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("seccomp listener: %w", err)
	}
	return &Listener{file: os.NewFile(uintptr(fd), "seccomp listener")}, nil
}

// Close lets all waiting and later calls of the program fail with ENOSYS.
func (l *Listener) Close() error {
	l.closed.Store(true)
	return l.file.Close()
}

// File is the descriptor, for poll and for handing it on.
func (l *Listener) File() *os.File { return l.file }

// Notification is one waiting call.
type Notification struct {
	ID    uint64 // names the call in answers
	PID   uint32 // thread id of the caller, 0 if it is in a foreign PID namespace
	Flags uint32
	Data  Data
}

// ErrGone means that the caller does not wait any more: it was killed, or
// interrupted by a signal.
var ErrGone = errors.New("the caller is gone")

// rawNotif is struct seccomp_notif: 80 bytes.
type rawNotif struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// rawResponse is struct seccomp_notif_resp: 24 bytes.
type rawResponse struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// rawAddFD is struct seccomp_notif_addfd: 24 bytes.
type rawAddFD struct {
	id         uint64
	flags      uint32
	srcFD      uint32
	newFD      uint32
	newFDFlags uint32
}

// The same numbers on all our architectures; x/sys has two of them for all.
const (
	ioctlRecv     = unix.SECCOMP_IOCTL_NOTIF_RECV
	ioctlSend     = unix.SECCOMP_IOCTL_NOTIF_SEND
	ioctlIDValid  = 0x40082102
	ioctlAddFD    = 0x40182103
	ioctlSetFlags = 0x40082104
)

// Receive waits for the next call. io.EOF means that no process is under the
// program any more, os.ErrClosed that Close was called. Only one goroutine
// may receive at a time; answers may come from any.
//
// A signal to the caller takes its call back, and the kernel may issue it
// anew, under another ID: what was done for the first is done twice. Load
// programs with SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (kernel 5.19) where
// that matters; only fatal signals interrupt a call then, once it is received.
func (l *Listener) Receive() (Notification, error) {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return Notification{}, err
	}
	var n Notification
	var result error
	err = conn.Read(func(fd uintptr) (done bool) {
		n, done, result = receive(fd)
		return done
	})
	switch {
	case err == nil:
		return n, result
	case l.closed.Load(): // the poller has an error of its own for that
		return n, os.ErrClosed
	}
	return n, err
}

// TryReceive is Receive for who polls the descriptor: it does not wait, ok says
// whether there was a call.
func (l *Listener) TryReceive() (n Notification, ok bool, err error) {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return Notification{}, false, err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		n, ok, result = receive(fd)
	})
	if err == nil {
		err = result
	}
	return n, ok && err == nil, err
}

// receive fetches a call if one waits. The kernel's RECV would block in spite
// of O_NONBLOCK, so poll is asked before.
func receive(fd uintptr) (n Notification, done bool, err error) {
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, 0); err != nil && err != unix.EINTR {
			return n, true, fmt.Errorf("seccomp listener: poll: %w", err)
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			if poll[0].Revents&unix.POLLHUP != 0 {
				return n, true, io.EOF
			}
			return n, false, nil
		}
		var raw rawNotif // must be zero, or the kernel answers EINVAL
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, ioctlRecv, uintptr(unsafe.Pointer(&raw)))
		switch errno {
		case 0:
			return raw.notification(), true, nil
		case unix.EINTR, unix.ENOENT: // ENOENT: the caller was killed meanwhile
		default:
			return n, true, fmt.Errorf("seccomp listener: receive: %w", errno)
		}
	}
}

func (r *rawNotif) notification() Notification {
	return Notification{
		ID: r.id, PID: r.pid, Flags: r.flags,
		Data: Data{Nr: uint32(r.nr), Arch: r.arch, IP: r.ip, Args: r.args},
	}
}

// Valid returns nil if the call still waits. Ask after opening anything of
// the caller by its PID: without an answer the PID may be another's by now.
func (l *Listener) Valid(id uint64) error {
	return l.failure("check", l.ioctl(ioctlIDValid, unsafe.Pointer(&id)))
}

// Return ends the call with a result, without the kernel doing anything.
func (l *Listener) Return(id uint64, value int64) error {
	return l.send(rawResponse{id: id, val: value})
}

// Fail ends the call with an errno.
func (l *Listener) Fail(id uint64, errno unix.Errno) error {
	return l.send(rawResponse{id: id, err: -int32(errno)})
}

// Continue lets the kernel carry the call out, with whatever its memory then
// holds. Only for calls that were judged by registers alone, or that any
// memory would do no harm to. Kernel 5.5.
func (l *Listener) Continue(id uint64) error {
	return l.send(rawResponse{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// FDOptions say where AddFD puts a descriptor.
type FDOptions struct {
	Number  int  // used when Replace is set: dup2 onto this number
	Replace bool // kernel 5.9
	CloExec bool
	Answer  bool // end the call with the new number as its result; kernel 5.14
}

// AddFD copies a descriptor of ours into the caller and returns its number
// there.
func (l *Listener) AddFD(id uint64, fd int, o FDOptions) (int, error) {
	raw := rawAddFD{id: id, srcFD: uint32(fd)}
	if o.Replace {
		raw.flags |= unix.SECCOMP_ADDFD_FLAG_SETFD
		raw.newFD = uint32(o.Number)
	}
	if o.Answer {
		raw.flags |= unix.SECCOMP_ADDFD_FLAG_SEND
	}
	if o.CloExec {
		raw.newFDFlags = unix.O_CLOEXEC
	}
	n, err := l.ioctlResult(ioctlAddFD, unsafe.Pointer(&raw))
	return n, l.failure("add descriptor", err)
}

// PreferSync tells the scheduler that caller and listener take turns, which
// makes each round trip shorter. Kernel 6.6; older ones answer EINVAL.
func (l *Listener) PreferSync() error {
	_, err := l.ioctlArg(ioctlSetFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return l.failure("set flags", err)
}

func (l *Listener) send(r rawResponse) error {
	return l.failure("answer", l.ioctl(ioctlSend, unsafe.Pointer(&r)))
}

func (l *Listener) ioctl(request uintptr, arg unsafe.Pointer) error {
	_, err := l.ioctlResult(request, arg)
	return err
}

func (l *Listener) ioctlResult(request uintptr, arg unsafe.Pointer) (int, error) {
	return l.ioctlArg(request, uintptr(arg))
}

// ioctlArg holds the descriptor open while the call runs.
//
//go:uintptrescapes
func (l *Listener) ioctlArg(request, arg uintptr) (int, error) {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var r uintptr
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		r, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, arg)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return int(r), err
}

// failure names the operation. ENOENT is the kernel's word for a caller that is gone,
// ESRCH for one that was interrupted while a descriptor was on its way to him.
func (l *Listener) failure(op string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOENT, unix.ESRCH:
		return fmt.Errorf("seccomp listener: %s: %w", op, ErrGone)
	}
	return fmt.Errorf("seccomp listener: %s: %w", op, err)
}
