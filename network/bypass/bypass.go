// Package bypass gives a container the host's own sockets, at the host's speed,
// and keeps the say over where they lead.
//
// The container runs under a seccomp filter (seccomp.Bypass) that hands the calls
// which make a socket or give it another end to a Handler in the supervisor:
//
//	socket              a TCP or UDP socket of the host is put into the caller
//	connect, sendto …   the handler judges its own copy of the address and carries
//	                    the call out on its own descriptor of the caller's socket
//	bind, listen        a published port is bound on the host
//
// Whatever may not go out, and whatever is the container's own (its loopback, its
// addresses, ports that are not published), stays in the container's network
// namespace: the socket is exchanged for one of that namespace (exchange.go), where
// another driver serves or refuses. So a mistake here is a slow connection and
// not a hole; the way from a namespace socket back to the host does not exist.
//
// Two rules hold everywhere. The handler copies what it judges, and acts with the
// copy (A81): no call on a socket of these families is ever continued. Other
// sockets' calls are continued only where nobody can exchange the descriptor
// meanwhile (foreign.go).
//
// Start reading at Handler. The package knows neither filters nor containers: the
// supervisor hands it a listener (Calls) and an open network namespace.
package bypass

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Call is one system call that waits for its answer.
type Call struct {
	ID   uint64
	TID  int // thread of the caller, in our pid namespace
	Nr   int // of the machine's own ABI
	Args [6]uint64
}

// Calls is a seccomp listener. ErrGone of the listener need not be told apart: an
// answer that fails is an answer nobody waits for.
type Calls interface {
	// FD is polled for calls.
	FD() int
	// TryReceive returns a waiting call; ok is false without one. An error means
	// that no process is under the filter any more.
	TryReceive() (c Call, ok bool, err error)
	Valid(id uint64) error
	Return(id uint64, value int64) error
	Fail(id uint64, errno unix.Errno) error
	Continue(id uint64) error
	// AddFD puts a descriptor into the caller: at number at, or at the lowest free
	// one (at < 0). answer: the call ends with that number as its result.
	AddFD(id uint64, fd, at int, cloexec, answer bool) (int, error)
	Close() error
}

// Config is one container's.
type Config struct {
	// Namespace is the container's network namespace; New takes a copy.
	Namespace *os.File
	// Allows judges an address of the host's world.
	Allows func(netip.Addr) bool
	// Own are single addresses of the container that do not stand for their whole
	// subnet, as the default network's.
	Own []netip.Addr
	// Gateways are addresses of the container's that stand for the host's loopback.
	// Empty: the namespace serves or refuses them.
	Gateways []netip.Addr
	// Ports are the published ones.
	Ports []Port
}

// Handler answers the calls of one container: one loop on one thread.
type Handler struct {
	cfg    Config
	wall   wall  // what is the container's own
	inside *door // to the container's namespace
	cookie uint64
	poller int
	wake   int // eventfd
	// descriptors is the directory of this process's (path.go).
	descriptors int
	mu          sync.Mutex
	added       []Calls
	finished    []*job
	closing     bool
	done        chan struct{}

	// The loop's own:
	sources map[int]Calls
	waits   map[int]*wait
	busy    map[int]*job // by thread
	lost    map[int]lost
	swept   time.Time
	live    map[int]bool // of cfg.Ports: bound by the container
	threads bool         // pidfd_open takes thread ids: kernel 6.9
	buffer  []byte
}

// New starts a handler. Its listeners come by Add.
func New(cfg Config) (*Handler, error) {
	h := &Handler{
		cfg: cfg, done: make(chan struct{}), poller: -1, wake: -1, descriptors: -1,
		sources: map[int]Calls{}, waits: map[int]*wait{}, busy: map[int]*job{}, lost: map[int]lost{}, live: map[int]bool{}, buffer: make([]byte, maxCopy),
	}
	if err := h.open(); err != nil {
		h.release()
		return nil, fmt.Errorf("start bypass: %w", err)
	}
	go h.loop()
	return h, nil
}

func (h *Handler) open() (err error) {
	if h.inside, err = openDoor(h.cfg.Namespace); err != nil {
		return err
	}
	if h.wall, err = h.inside.wall(h.cfg.Own); err != nil {
		return err
	}
	if h.cookie, err = h.inside.cookie(); err != nil {
		return err
	}
	if h.poller, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if h.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if h.descriptors, err = unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open /proc/self/fd: %w", err)
	}
	h.threads = threadPidfds()
	for _, fd := range []int{h.wake, h.inside.changes} {
		if err := h.watch(fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
}

// Add takes the listener of another process of the container, and closes it.
func (h *Handler) Add(c Calls) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		c.Close()
		return errors.New("add listener to bypass: closed")
	}
	h.added = append(h.added, c)
	return h.knock()
}

func (h *Handler) knock() error {
	_, err := unix.Write(h.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return os.NewSyscallError("wake bypass", err)
}

// Close ends the loop; calls that wait and come later fail with ENOSYS.
func (h *Handler) Close() error {
	h.mu.Lock()
	if !h.closing {
		h.closing = true
		_ = h.knock()
	}
	h.mu.Unlock()
	<-h.done
	return nil
}

// loop is locked to its thread: answering on the processor that the caller waits
// on makes a call's round trip short.
func (h *Handler) loop() {
	runtime.LockOSThread()
	defer close(h.done)
	defer h.release()
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(h.poller, events[:], h.patience())
		if err != nil && err != unix.EINTR {
			return
		}
		for _, e := range events[:max(n, 0)] {
			h.ready(int(e.Fd))
		}
		h.settle()
		h.sweep()
		if !h.takeAdded() {
			return
		}
	}
}

// ready serves one descriptor of the poller.
func (h *Handler) ready(fd int) {
	switch fd {
	case h.wake:
		var b [8]byte
		_, _ = unix.Read(fd, b[:])
		return
	case h.inside.changes:
		h.inside.drain()
		if w, err := h.inside.wall(h.cfg.Own); err == nil {
			h.wall = w
		}
		return
	}
	if w := h.waits[fd]; w != nil {
		h.resume(w)
		return
	}
	if c := h.sources[fd]; c != nil {
		h.serve(fd, c)
	}
}

// serve answers a burst of calls of one listener; the others get their turn.
func (h *Handler) serve(fd int, from Calls) {
	const burst = 16
	for range burst {
		call, ok, err := from.TryReceive()
		if err != nil {
			h.unwatch(fd)
			delete(h.sources, fd)
			from.Close()
			return
		}
		if !ok {
			return
		}
		h.handle(from, call)
	}
}

// takeAdded reports false when the handler is to end.
func (h *Handler) takeAdded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.added {
		fd := c.FD()
		h.sources[fd] = c
		if err := h.watch(fd, unix.EPOLLIN); err != nil {
			delete(h.sources, fd)
			c.Close()
		}
	}
	h.added = nil
	return !h.closing
}

func (h *Handler) watch(fd int, events uint32) error {
	err := unix.EpollCtl(h.poller, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	return os.NewSyscallError("epoll_ctl", err)
}

func (h *Handler) unwatch(fd int) { _ = unix.EpollCtl(h.poller, unix.EPOLL_CTL_DEL, fd, nil) }

func (h *Handler) release() {
	h.mu.Lock()
	h.closing = true // nobody knocks any more: the descriptor may be another's soon
	for _, c := range h.added {
		c.Close()
	}
	for _, j := range h.finished {
		unix.Close(j.pidfd)
	}
	h.mu.Unlock()
	for _, w := range h.waits {
		unix.Close(w.socket.fd)
	}
	for _, c := range h.sources {
		c.Close()
	}
	for _, fd := range []int{h.poller, h.wake, h.descriptors} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if h.inside != nil {
		h.inside.close()
	}
	for _, p := range h.cfg.Ports {
		unix.Close(p.Reserved)
	}
}

// handle carries one call out.
func (h *Handler) handle(from Calls, c Call) {
	p := &pending{handler: h, from: from, Call: c}
	if h.answeredBefore(p) {
		return
	}
	err := p.open()
	defer p.close() // a caller that left while it was opened, too
	if err != nil {
		p.fail(err)
		return
	}
	if c.Nr == unix.SYS_SOCKET {
		h.socket(p)
		return
	}
	s, err := h.socketOf(p, c.Args[0])
	if err != nil {
		p.fail(err)
		return
	}
	defer p.keepOrClose(s)
	h.handleSocket(p, s)
}

// handleSocket carries out a call on a socket that is there.
func (h *Handler) handleSocket(p *pending, s *socket) {
	switch {
	case p.Nr == unix.SYS_GETSOCKNAME:
		h.getsockname(p, s)
	case !s.judged(p.Nr):
		h.foreign(p, s)
	case p.Nr == unix.SYS_CONNECT:
		h.connect(p, s)
	case p.Nr == unix.SYS_BIND:
		h.bind(p, s)
	case p.Nr == unix.SYS_LISTEN:
		h.listen(p, s)
	case p.Nr == unix.SYS_SENDTO:
		h.sendto(p, s)
	case p.Nr == unix.SYS_SENDMSG:
		h.sendmsg(p, s)
	case p.Nr == unix.SYS_SENDMMSG:
		h.sendmmsg(p, s)
	default:
		p.fail(unix.ENOSYS)
	}
}
