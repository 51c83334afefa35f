package stack

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// steppedPeer is a peer whose stack takes a turn only when a test says so.
func steppedPeer(t *testing.T) *peer {
	s, fd := bareStack(t)
	t.Cleanup(s.release)
	return &peer{t: t, s: s, fd: fd, port: 40000, seq: 1000, wnd: 64240}
}

// take gives the stack the packets that the peer has written, as one turn does.
func (p *peer) take() {
	p.t.Helper()
	b := make([]byte, vnetLen+1<<16)
	for {
		n, _, err := unix.Recvfrom(p.s.dev.fd, b, unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		p.s.packet(append([]byte(nil), b[vnetLen:n]...))
	}
}

// hostSide is the state of the host's end of a connection: an error, or 0 at its end.
func hostSide(t *testing.T, c *net.TCPConn) (n int, err error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	raw.Control(func(fd uintptr) { n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT) })
	return n, err
}

// TestSynOfThisHostIsAnsweredAtOnce: a destination on this host is connected when
// connect(2) has been asked twice, and no turn of the loop is waited for.
func TestSynOfThisHostIsAnsweredAtOnce(t *testing.T) {
	p := steppedPeer(t)
	p.listen()
	p.tcp(flagSYN, p.seq, synWithOptions, nil)
	p.take()
	got, ok := p.read(protoTCP, 100*time.Millisecond) // no turn comes
	if !ok {
		t.Fatal("the SYN has no answer before the next turn")
	}
	if h, _ := parseTCP(got.body); h.flags != flagSYN|flagACK || h.ack != p.seq+1 {
		t.Fatalf("flags %#x ack %d, want SYN-ACK of %d", h.flags, h.ack, p.seq+1)
	}
}

// TestFinGoesAtTheEndOfTheTurn: the SYN of the next connection goes first, and the
// FIN goes in the same turn.
func TestFinGoesAtTheEndOfTheTurn(t *testing.T) {
	p := steppedPeer(t)
	l := p.listen()
	p.tcp(flagSYN, p.seq, synWithOptions, nil)
	p.take()
	p.ack = p.segment("SYN-ACK").seq + 1
	p.seq++
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.tcp(flagFIN|flagACK, p.seq, nil, nil)
	p.port++
	p.tcp(flagSYN, p.seq, synWithOptions, nil)
	p.take()
	if n, err := hostSide(t, c); err != unix.EAGAIN {
		t.Errorf("before the end of the turn the host reads %d, %v", n, err)
	}
	l.SetDeadline(time.Now().Add(10 * time.Second))
	next, err := l.AcceptTCP()
	if err != nil {
		t.Fatalf("the next connection: %v", err)
	}
	defer next.Close()
	p.s.part()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the turn the host reads %v, want its end", err)
	}
	if len(p.s.leaving) != 0 {
		t.Errorf("%d connections are still leaving", len(p.s.leaving))
	}
}

// threadTime is the processor time that this thread has used.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestPollingEnds: a loop whose last event came soon asks for a moment, then sleeps.
// Asking on, it would use all of the time that it waits.
func TestPollingEnds(t *testing.T) {
	s, _ := bareStack(t)
	defer s.loop.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const long = 300 * time.Millisecond
	s.lively = true
	timer := time.AfterFunc(long, func() { s.do(func() {}) })
	defer timer.Stop()
	before := threadTime(t)
	for {
		if _, err := s.wait(make([]unix.EpollEvent, 8), -1); err == nil {
			break
		}
		s.lively = true
	}
	if used := threadTime(t) - before; used > long/4 {
		t.Errorf("used %v of the processor to wait for %v", used, long)
	}
	if s.lively {
		t.Error("after a long wait the loop would ask again")
	}
}

// TestPollingFollowsTheAnswers: events further apart than soon cost no asking.
func TestPollingFollowsTheAnswers(t *testing.T) {
	s, _ := bareStack(t)
	defer s.loop.close()
	events := make([]unix.EpollEvent, 8)
	for { // a signal of Go's scheduler is an event, too
		if _, err := s.wait(events, 5); err != unix.EINTR {
			break
		}
	}
	if s.lively {
		t.Error("nothing came in 5 ms, and the loop is lively")
	}
	for range 100 { // on a busy machine one may take long
		s.do(func() {})
		if s.wait(events, 0); s.lively {
			return
		}
	}
	t.Error("events come at once, and the loop is not lively")
}
