package bypass

import (
	"encoding/binary"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls on sockets that are not the host's: Unix sockets for the most part. They
// pass here because connect(2) and sendmsg(2) look the same for all sockets.
//
// To let the kernel go on would be wrong where another thread can put a socket of
// the host under the number that was looked at. So the call is continued only for
// a process of one thread: its descriptor table is nobody else's (the filter
// forbids to share one otherwise), and while it waits here nobody changes it. For
// other processes the call is carried out here, as their user, in their root.

// foreign answers a call on a socket of another kind.
func (h *Handler) foreign(p *pending, s *socket) {
	if p.alone() {
		_ = p.from.Continue(p.ID)
		return
	}
	if s.inet() {
		h.stream(p, s)
		return
	}
	job := &job{pending: p, socket: s}
	job.current.Store(p.ID)
	copied, err := job.prepare()
	if err != nil {
		p.fail(err)
		return
	}
	if h.crowded(p) {
		job.release()
		p.fail(unix.EAGAIN)
		return
	}
	p.kept, p.detached = true, true
	h.busy[p.TID] = job
	go h.work(job, copied)
}

// stream sends on a socket that has its other end, or is the namespace's: there is
// nothing to judge, and nobody to be.
func (h *Handler) stream(p *pending, s *socket) {
	var m message
	var err error
	switch p.Nr {
	case unix.SYS_SENDTO:
		m, err = p.plainMessage(s)
	case unix.SYS_SENDMSG:
		m, err = p.message(s, p.Args[1], int(int32(p.Args[2])))
	default:
		err = unix.EOPNOTSUPP // sendmmsg: programs send one by one then
	}
	if err != nil {
		p.fail(err)
		return
	}
	if s.tcp() {
		m.name = nil
	}
	h.transmit(p, s, m)
}

// alone: the calling process has one thread. The links of /proc/PID/task are the
// threads and two.
func (p *pending) alone() bool {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(p.TID)+"/task", &st) != nil {
		return false
	}
	return st.Nlink == 3 && p.valid() == nil
}

// job is a call that is carried out beside the loop.
type job struct {
	*pending
	current atomic.Uint64 // ID, for the goroutine: a caller that was interrupted has another
	socket  *socket
	who     identity
	files   []int // ours, until the call is done
	value   int64
	err     error
}

func (j *job) wanted() bool { return j.from.Valid(j.current.Load()) == nil }

// release lets go of what prepare took.
func (j *job) release() {
	j.who.close()
	j.closeFiles()
}

func (j *job) closeFiles() {
	for _, fd := range j.files {
		unix.Close(fd)
	}
}

// prepare copies what the call points to, and returns what carries it out.
func (j *job) prepare() (do func() (int64, error), err error) {
	if j.who, err = j.identity(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.release()
		}
	}()
	s := j.socket
	switch j.Nr {
	case unix.SYS_CONNECT, unix.SYS_BIND:
		var name []byte
		if name, err = j.name(); err != nil {
			return nil, err
		}
		if j.Nr == unix.SYS_BIND {
			return func() (int64, error) { return 0, j.bindBelowRoot(name) }, nil
		}
		return func() (int64, error) { return 0, j.connectPatiently(name) }, nil
	case unix.SYS_LISTEN:
		return func() (int64, error) { return 0, unix.Listen(j.socket.fd, int(int32(j.Args[1]))) }, nil
	case unix.SYS_SENDTO:
		m, err := j.plainMessage(s)
		return func() (int64, error) { return j.sendPatiently(m) }, err
	case unix.SYS_SENDMSG:
		m, err := j.messageWithFiles(s, j.Args[1], int(int32(j.Args[2])))
		return func() (int64, error) { return j.sendPatiently(m) }, err
	}
	return nil, unix.EOPNOTSUPP // sendmmsg: programs send one by one then
}

// name is the address argument as it is.
func (p *pending) name() ([]byte, error) {
	n := int(int32(p.Args[2]))
	if n < 2 || n > sizeStorage {
		return nil, unix.EINVAL
	}
	return p.read(p.Args[1], n)
}

// work runs beside the loop and hands it the answer.
func (h *Handler) work(j *job, do func() (int64, error)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: its identity is the caller's
		if j.err = j.who.assume(); j.err == nil {
			j.value, j.err = do()
		}
	}()
	<-done
	j.closeFiles()
	j.socket.close()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		unix.Close(j.pidfd)
		return
	}
	h.finished = append(h.finished, j)
	_ = h.knock()
}

// settle answers the jobs that are done.
func (h *Handler) settle() {
	h.mu.Lock()
	done := h.finished
	h.finished = nil
	h.mu.Unlock()
	for _, j := range done {
		if h.busy[j.TID] == j {
			delete(h.busy, j.TID)
		}
		if j.err == nil {
			j.finish(j.value, 0)
		} else {
			j.sent(0, j.err, int(int32(j.flagsArgument())))
		}
		unix.Close(j.pidfd)
	}
}

// flagsArgument are the flags of a send; of other calls MSG_NOSIGNAL, as they
// raise none.
func (j *job) flagsArgument() uint64 {
	switch j.Nr {
	case unix.SYS_SENDTO:
		return j.Args[3]
	case unix.SYS_SENDMSG:
		return j.Args[2]
	}
	return unix.MSG_NOSIGNAL
}

// retryTime is between two tries of what the kernel would block on.
const retryTime = 5 * time.Millisecond

// connectPatiently waits where the listener's queue is full, as long as the caller
// does.
func (j *job) connectPatiently(name []byte) error {
	name, err := j.found(name)
	if err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(j.socket.fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	for {
		_, _ = unix.FcntlInt(uintptr(j.socket.fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
		err = withAddress(unix.SYS_CONNECT, j.socket.fd, name)
		_, _ = unix.FcntlInt(uintptr(j.socket.fd), unix.F_SETFL, flags)
		if err != unix.EAGAIN || flags&unix.O_NONBLOCK != 0 || !j.wanted() {
			return err
		}
		time.Sleep(retryTime)
	}
}

func (j *job) sendPatiently(m message) (n int64, err error) {
	if m.name, err = j.found(m.name); err != nil {
		return 0, err
	}
	for {
		n, err := send(j.socket.fd, m)
		if err != unix.EAGAIN || !blocks(j.socket.fd, m.flags) || !j.wanted() {
			return int64(n), err
		}
		poll := []unix.PollFd{{Fd: int32(j.socket.fd), Events: unix.POLLOUT}}
		_, _ = unix.Poll(poll, int(sweepTime/time.Millisecond))
	}
}

// messageWithFiles takes the descriptors that a message carries out of the caller.
func (j *job) messageWithFiles(s *socket, at uint64, flags int) (message, error) {
	m, err := j.message(s, at, flags)
	if err != nil || len(m.control) == 0 {
		return m, err
	}
	list, err := unix.ParseSocketControlMessage(m.control)
	if err != nil {
		return m, unix.EINVAL
	}
	m.control = nil
	for _, c := range list {
		if c.Header.Level != unix.SOL_SOCKET || c.Header.Type != unix.SCM_RIGHTS {
			m.control = appendControl(m.control, c)
			continue
		}
		first := len(j.files)
		for b := c.Data; len(b) >= 4; b = b[4:] {
			fd, err := j.descriptor(uint64(binary.NativeEndian.Uint32(b)))
			if err != nil {
				return m, err
			}
			j.files = append(j.files, fd)
		}
		m.control = append(m.control, unix.UnixRights(j.files[first:]...)...)
	}
	return m, j.valid()
}

func appendControl(b []byte, c unix.SocketControlMessage) []byte {
	out := make([]byte, unix.CmsgSpace(len(c.Data)))
	header := c.Header
	header.SetLen(unix.CmsgLen(len(c.Data)))
	*(*unix.Cmsghdr)(unsafe.Pointer(&out[0])) = header
	copy(out[unix.CmsgLen(0):], c.Data)
	return append(b, out...)
}
