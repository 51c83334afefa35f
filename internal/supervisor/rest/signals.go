package rest

/*
#cgo LDFLAGS: -Wl,--wrap=sigaction
int bryo_note_signals(int fd);
int bryo_hush_threads(void);
*/
import "C"

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signals are those that a supervisor passes on: SIGHUP, SIGINT and SIGTERM. None is
// lost when the process rests, before, during or after the executions.
type Signals struct {
	read, write int
	file        *os.File
}

// CatchSignals begins to catch them. It is called once, on the main thread.
func CatchSignals() (*Signals, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	if errno := C.bryo_note_signals(C.int(p[1])); errno != 0 {
		return nil, os.NewSyscallError("sigaction", syscall.Errno(errno))
	}
	return adoptSignals(p[0], p[1]), nil
}

// adoptSignals goes on with the pipe of an earlier image: they are being caught.
func adoptSignals(read, write int) *Signals {
	return &Signals{read, write, os.NewFile(uintptr(read), "signals")}
}

// File can be read when a signal has come: each is a byte.
func (s *Signals) File() *os.File { return s.file }

// Descriptor is the number of a file's. Unlike os.File.Fd it leaves it non-blocking.
func Descriptor(f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	if err := raw.Control(func(fd uintptr) { n = int(fd) }); err != nil {
		return -1
	}
	return n
}

func passedSet() *unix.Sigset_t {
	var set unix.Sigset_t
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM} {
		set.Val[0] |= 1 << (uint(sig) - 1) // these are in the first word everywhere
	}
	return &set
}

// block blocks all signals of the calling thread: what comes while there is no handler
// waits.
func block() (before unix.Sigset_t) {
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before)
	return before
}

// hushThreads: no thread but this one takes one of our signals any more. When the process
// does not rest after all, this one does.
func hushThreads() error {
	if C.bryo_hush_threads() != 0 {
		return errors.New("rest: threads do not answer")
	}
	return nil
}

func unblock(before unix.Sigset_t) { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }
