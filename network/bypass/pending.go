package bypass

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pending is a call being carried out. Its caller's memory is read once and
// believed only after Valid: until then the thread id may be another's.
type pending struct {
	Call
	handler  *Handler
	from     Calls
	pidfd    int
	kept     bool // a wait or a job has the socket
	detached bool // a job answers, and closes pidfd
	copied   int  // bytes of the last message read
}

// lost is an answer that nobody waited for: a signal took the call back after it
// was carried out. The kernel or the program makes the same call again, which
// must not be carried out twice: a datagram would be sent twice, a bind fail.
type lost struct {
	nr    int
	args  [6]uint64
	value int64
	errno unix.Errno
	at    time.Time
}

// lostTime is long enough for a signal handler to run, and short enough for a
// program that gave up and means another call by the same arguments.
const lostTime = 200 * time.Millisecond

// answeredBefore gives a repeated call the answer of its first try, or lets it
// take the place of one that is still waiting.
func (h *Handler) answeredBefore(p *pending) bool {
	if l, ok := h.lost[p.TID]; ok {
		delete(h.lost, p.TID)
		if l.nr == p.Nr && l.args == p.Args && time.Since(l.at) < lostTime {
			p.finish(l.value, l.errno)
			return true
		}
	}
	if j := h.busy[p.TID]; j != nil && j.Nr == p.Nr && j.Args == p.Args && j.from == p.from {
		j.ID = p.ID
		j.current.Store(p.ID)
		return true
	}
	for _, w := range h.waits {
		if w.call.TID == p.TID && w.call.from == p.from {
			if w.call.Nr == p.Nr && w.call.Args == p.Args {
				w.call.ID = p.ID
				return true
			}
			h.drop(w) // interrupted, and the thread does something else now
			return false
		}
	}
	return false
}

// threadPidfds: pidfd_open with PIDFD_THREAD (kernel 6.9).
func threadPidfds() bool {
	fd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_THREAD)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// open gets hold of the calling thread.
func (p *pending) open() error {
	p.pidfd = -1
	if p.TID <= 0 {
		return unix.EPERM // of a foreign pid namespace: not to be looked into
	}
	id, flags := p.TID, unix.PIDFD_THREAD
	if !p.handler.threads {
		flags = 0
		if id = threadGroup(p.TID); id <= 0 {
			return errGone
		}
	}
	fd, err := unix.PidfdOpen(id, flags)
	if err == unix.ESRCH {
		return errGone
	}
	if err != nil {
		return err
	}
	p.pidfd = fd
	return p.valid()
}

func (p *pending) close() {
	if p.pidfd >= 0 && !p.detached {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

// errGone: the caller does not wait any more, it was killed or interrupted. There
// is nobody to answer, and what was not done is not to be remembered as failed.
var errGone = errors.New("the caller is gone")

func (p *pending) valid() error {
	if p.from.Valid(p.ID) != nil {
		return errGone
	}
	return nil
}

// threadGroup is the process of a thread.
func threadGroup(tid int) int {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return 0
	}
	id, _ := strconv.Atoi(field(string(status), "Tgid:"))
	return id
}

// read copies n bytes of the caller's memory.
func (p *pending) read(at uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	return b, p.readInto(at, b)
}

func (p *pending) readInto(at uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}
	n, err := unix.ProcessVMReadv(p.TID, local, remote, 0)
	if gone := p.valid(); gone != nil {
		return gone
	}
	if err != nil || n != len(b) {
		return unix.EFAULT
	}
	return nil
}

// write changes the caller's memory. It is opened before it is known to be the
// caller's, so that it cannot become another's.
func (p *pending) write(at uint64, b []byte) error {
	mem, err := os.OpenFile("/proc/"+strconv.Itoa(p.TID)+"/mem", os.O_WRONLY, 0)
	if gone := p.valid(); gone != nil {
		if err == nil {
			mem.Close()
		}
		return gone
	}
	if err != nil {
		return unix.EFAULT
	}
	defer mem.Close()
	if _, err := mem.WriteAt(b, int64(at)); err != nil {
		return unix.EFAULT
	}
	return nil
}

func (p *pending) writeInt(at uint64, v uint32) error {
	return p.write(at, binary.NativeEndian.AppendUint32(nil, v))
}

// descriptor is ours of the caller's file.
func (p *pending) descriptor(number uint64) (int, error) {
	fd, err := unix.PidfdGetfd(p.pidfd, int(int32(number)), 0)
	switch err {
	case nil:
		return fd, nil
	case unix.EBADF:
		return -1, unix.EBADF
	case unix.ESRCH:
		return -1, errGone
	}
	return -1, unix.EPERM // a process that may not be looked into
}

// finish ends the call, with a value or an error.
func (p *pending) finish(value int64, errno unix.Errno) {
	var err error
	if errno != 0 {
		err = p.from.Fail(p.ID, errno)
	} else {
		err = p.from.Return(p.ID, value)
	}
	if err != nil {
		p.handler.remember(p, value, errno)
	}
}

// remember keeps an answer that nobody waited for.
func (h *Handler) remember(p *pending, value int64, errno unix.Errno) {
	const most = 256 // threads that were killed do not come back for theirs
	if len(h.lost) >= most {
		clear(h.lost)
	}
	h.lost[p.TID] = lost{nr: p.Nr, args: p.Args, value: value, errno: errno, at: time.Now()}
}

// fail ends the call with an error.
func (p *pending) fail(err error) {
	errno, ok := errnoOf(err)
	if err == errGone || !ok && p.valid() != nil {
		return
	}
	p.finish(0, errno)
}

// end is for calls that return 0 or an error.
func (p *pending) end(err error) {
	if err != nil {
		p.fail(err)
		return
	}
	p.finish(0, 0)
}
