package stack

import (
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A source is what owns a descriptor that the loop watches.
type source interface {
	ready(events uint32)
}

// loop is the one thread of the stack: it waits for the device and for all
// host sockets together, and everything else runs in its turns. A packet is
// carried from one side to the other without waking up another thread, which
// is what a round trip through a user-mode stack otherwise pays for.
type loop struct {
	epoll   int
	sources []watched // by descriptor
	timers  timers
	now     instant
	again   []source // have more to do in the next turn
	lively  bool     // the last event came soon

	wake int // eventfd
	mu   sync.Mutex
	jobs []func()
}

// watched remembers who owns a descriptor, and since when: a descriptor that
// was closed and opened again within one turn must not get the old events.
type watched struct {
	source source
	age    int32
}

const (
	// Edge-triggered, all directions at once: one epoll_ctl per socket.
	watchAll = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	hungUp   = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

func (l *loop) open() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return fmt.Errorf("make eventfd: %w", err)
	}
	l.epoll, l.wake, l.now = epoll, wake, monotonic()
	if err := l.watch(wake, waker{l}, unix.EPOLLIN); err != nil {
		l.close()
		return err
	}
	return nil
}

func (l *loop) close() {
	unix.Close(l.epoll)
	unix.Close(l.wake)
}

// watch starts to tell s what happens on fd. Closing fd ends it.
func (l *loop) watch(fd int, s source, events uint32) error {
	for fd >= len(l.sources) {
		l.sources = append(l.sources, watched{})
	}
	w := &l.sources[fd]
	w.source = s
	w.age++
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: w.age}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch descriptor: %w", err)
	}
	return nil
}

// forget closes fd; events of it that are already on their way are lost.
func (l *loop) forget(fd int) {
	l.sources[fd].source = nil
	l.sources[fd].age++
	unix.Close(fd)
}

// turn waits for events and hands them out. It returns after one batch.
func (l *loop) turn(events []unix.EpollEvent) error {
	n, err := l.wait(events, l.patience())
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for events: %w", err)
	}
	more := l.again
	l.again = nil
	for _, s := range more {
		s.ready(0)
	}
	for _, ev := range events[:max(n, 0)] {
		if w := l.sources[ev.Fd]; w.age == ev.Pad && w.source != nil {
			w.source.ready(ev.Events)
		}
	}
	l.timers.fire(l.now)
	return nil
}

// brief is how long the loop waits, in milliseconds, before it lets Go's
// scheduler know that it waits. While packets flow the next one is here
// sooner, and the scheduler, which would take the processor away from this
// thread and give it back, costs more than the packet. It bounds how long the
// garbage collector may have to wait for this thread.
const brief = 1

func (l *loop) wait(events []unix.EpollEvent, patience int) (int, error) {
	began := monotonic()
	n, err := l.sleep(events, patience, began)
	l.now = monotonic()
	l.lively = l.now-began < soon
	return n, err
}

// While the answers come soon the loop asks for the next event for a moment
// before it sleeps: to be woken up on an idle processor takes longer than all
// else that a packet costs. A moment is what a thread on this host needs to
// answer; where answers take longer than soon, nothing is asked in vain.
const (
	moment = 20_000 // ns
	soon   = 60_000
)

func (l *loop) sleep(events []unix.EpollEvent, patience int, began instant) (int, error) {
	for l.lively && patience != 0 {
		if n, errno := l.poll(events, 0); n != 0 || errno != 0 {
			return n, asError(errno)
		}
		if monotonic()-began > moment {
			break
		}
	}
	first := patience
	if patience < 0 || patience > brief {
		first = brief
	}
	n, errno := l.poll(events, first)
	if n != 0 || errno != 0 || first == patience {
		return n, asError(errno)
	}
	return unix.EpollWait(l.epoll, events, patience)
}

func (l *loop) poll(events []unix.EpollEvent, patience int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(patience), 0, 0)
	return taken(n, errno)
}

// asError: 0 is no error, but as an error it would not be nil.
func asError(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

// patience is how long the loop may wait, in milliseconds.
func (l *loop) patience() int {
	if len(l.again) > 0 {
		return 0
	}
	if len(l.timers) == 0 {
		return -1
	}
	wait := l.timers[0].at - l.now
	return int(min(max(wait+999_999, 0)/1_000_000, 60_000))
}

// do runs fn in the loop, soon. It is the only way in for other goroutines.
func (l *loop) do(fn func()) {
	l.mu.Lock()
	l.jobs = append(l.jobs, fn)
	l.mu.Unlock()
	var one = [8]byte{1}
	unix.Write(l.wake, one[:])
}

// waker runs what do left.
type waker struct{ l *loop }

func (w waker) ready(uint32) {
	var b [8]byte
	unix.Read(w.l.wake, b[:])
	w.l.mu.Lock()
	jobs := w.l.jobs
	w.l.jobs = nil
	w.l.mu.Unlock()
	for _, fn := range jobs {
		fn()
	}
}

// monotonic reads the clock without a system call.
func monotonic() instant { return int64(time.Since(start)) }

// start is what instants count from. It is not zero: 0 means "not set".
var start = time.Now().Add(-time.Hour)

// Host sockets never block, so the system calls on them are raw: Go's
// scheduler need not be told, and a turn costs what the kernel costs.

func recv(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return taken(n, errno)
}

// recv2 reads into two pieces of memory, of which either may be empty.
func recv2(fd int, first, second []byte) (int, unix.Errno) {
	if len(second) == 0 {
		return recv(fd, first)
	}
	iov := [2]unix.Iovec{{Base: unsafe.SliceData(first)}, {Base: unsafe.SliceData(second)}}
	iov[0].SetLen(len(first))
	iov[1].SetLen(len(second))
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), 2)
	return taken(n, errno)
}

func send(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return taken(n, errno)
}

// taken is the result of a read or write: a failed one took nothing.
func taken(n uintptr, errno unix.Errno) (int, unix.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// socketError takes the pending error of a socket (SO_ERROR).
func socketError(fd int) unix.Errno {
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EBADF
	}
	return unix.Errno(e)
}
