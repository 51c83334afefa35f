package stack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// session connects a peer to a listener and returns the host's end.
func session(t *testing.T) (*peer, *net.TCPConn) {
	t.Helper()
	p := newPeer(t)
	l := p.listen()
	p.connect()
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return p, c
}

func read(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read on the host: %v", err)
	}
	return string(b)
}

// settled waits until the stack holds no connection.
func (p *peer) settled() {
	p.t.Helper()
	for range 200 {
		if c := p.s.Counts(); c.Connections == 0 && c.Buffered == 0 && c.Dialing == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("left over: %+v", p.s.Counts())
}

func TestRefusedPortIsRefused(t *testing.T) {
	p := newPeer(t)
	p.listen().Close()
	p.tcp(flagSYN, p.seq, nil, nil)
	if h := p.segment("RST"); h.flags != flagRST|flagACK || h.ack != p.seq+1 {
		t.Fatalf("flags %#x ack %d, want RST-ACK of %d", h.flags, h.ack, p.seq+1)
	}
	p.settled()
}

func TestForbiddenDestinationIsRefused(t *testing.T) {
	for _, to := range []string{"127.0.0.1", "0.0.0.0", "169.254.169.254", "10.0.2.2"} {
		p := newPeer(t)
		p.to = netip.AddrPortFrom(netip.MustParseAddr(to), 80)
		p.tcp(flagSYN, p.seq, nil, nil)
		if h := p.segment("RST"); h.flags&flagRST == 0 {
			t.Errorf("%s: flags %#x, want RST", to, h.flags)
		}
	}
}

func TestUnreachableHostIsSaidByICMP(t *testing.T) {
	for errno, code := range map[unix.Errno]byte{unix.EHOSTUNREACH: 1, unix.ENETUNREACH: 0, unix.EACCES: 13} {
		p := newPeer(t)
		p.s.do(func() {
			c := &conn{s: p.s, key: key{elsewhere, boxAddr, 80, 40000}, local: boxAddr, fd: -1, rcv: 1001}
			c.rejected(errno)
		})
		got, ok := p.read(protoICMP, time.Second)
		if !ok || got.body[0] != 3 || got.body[1] != code {
			t.Fatalf("%v: got %x, want destination unreachable, code %d", errno, got.body, code)
		}
		if fold(sum(0, got.body)) != 0xffff {
			t.Errorf("%v: bad checksum", errno)
		}
		quoted, ok := parse4(append(append([]byte(nil), got.body[8:]...), make([]byte, 64)...))
		if !ok || quoted.src != boxAddr || quoted.dst != elsewhere {
			t.Errorf("%v: quotes %v -> %v", errno, quoted.src, quoted.dst)
		}
	}
}

func TestBytesBothWays(t *testing.T) {
	p, c := session(t)
	p.send("hello")
	if got := read(t, c, 5); got != "hello" {
		t.Fatalf("host got %q", got)
	}
	c.Write([]byte("world"))
	if got := p.receive(5); string(got) != "world" {
		t.Fatalf("container got %q", got)
	}
}

func TestAnswerCarriesTheAcknowledgement(t *testing.T) {
	p, c := session(t)
	p.send("ping")
	read(t, c, 4)
	c.Write([]byte("pong"))
	h := p.segment("data")
	if string(h.data) != "pong" || h.ack != p.seq {
		t.Fatalf("got %q ack %d, want pong that acknowledges %d", h.data, h.ack, p.seq)
	}
}

func TestDelayedAcknowledgementComes(t *testing.T) {
	p, c := session(t)
	p.send("ping")
	read(t, c, 4)
	if h := p.segment("ACK"); h.ack != p.seq || len(h.data) != 0 {
		t.Fatalf("ack %d, want %d", h.ack, p.seq)
	}
	p.send("second")
	if h := p.segment("ACK"); h.ack != p.seq {
		t.Fatalf("ack %d, want %d", h.ack, p.seq)
	}
}

func TestContainerClosesFirst(t *testing.T) {
	p, c := session(t)
	p.tcp(flagFIN|flagACK, p.seq, nil, []byte("bye"))
	p.seq += 4
	if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
		t.Fatalf("host got %q, %v", got, err)
	}
	c.Write([]byte("still here")) // half-closed: the other way is open
	if got := p.receive(10); string(got) != "still here" {
		t.Fatalf("container got %q", got)
	}
	c.Close()
	h := p.expect(flagFIN, "FIN")
	if h.ack != p.seq {
		t.Errorf("FIN acknowledges %d, want %d", h.ack, p.seq)
	}
	p.ack++
	p.tcp(flagACK, p.seq, nil, nil)
	p.settled()
}

func TestHostClosesFirst(t *testing.T) {
	p, c := session(t)
	c.CloseWrite()
	p.expect(flagFIN, "FIN")
	p.ack++
	p.tcp(flagACK, p.seq, nil, nil)
	p.send("last words")
	if got := read(t, c, 10); got != "last words" {
		t.Fatalf("host got %q", got)
	}
	p.tcp(flagFIN|flagACK, p.seq, nil, nil)
	p.seq++
	if h := p.expect(flagACK, "ACK of FIN"); h.ack != p.seq && p.segment("ACK of FIN").ack != p.seq {
		t.Error("the container's FIN is not acknowledged")
	}
	p.settled()
}

func TestContainerResets(t *testing.T) {
	p, c := session(t)
	p.tcp(flagRST, p.seq, nil, nil)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("host got %v, want connection reset", err)
	}
	p.settled()
}

func TestBlindResetIsIgnored(t *testing.T) {
	p, c := session(t)
	p.tcp(flagRST, p.seq-5, nil, nil)
	p.tcp(flagRST, p.seq+maxBacklog+5, nil, nil)
	p.send("alive")
	if got := read(t, c, 5); got != "alive" {
		t.Fatalf("host got %q", got)
	}
}

func TestHostResets(t *testing.T) {
	p, c := session(t)
	c.SetLinger(0)
	c.Close()
	p.expect(flagRST, "RST")
	p.settled()
}

func TestLostDataIsSentAgain(t *testing.T) {
	p, c := session(t)
	c.Write([]byte("lost"))
	first := p.segment("data")
	begin := time.Now()
	again := p.segment("data again")
	if again.seq != first.seq || string(again.data) != "lost" {
		t.Fatalf("got %q at %d, want the same again at %d", again.data, again.seq, first.seq)
	}
	if d := time.Since(begin); d < minRetransmit/2 {
		t.Errorf("sent again after %v", d)
	}
}

func TestDuplicateAcknowledgementsSendAgainAtOnce(t *testing.T) {
	p, c := session(t)
	c.Write([]byte("lost"))
	first := p.segment("data")
	begin := time.Now()
	for range 3 {
		p.tcp(flagACK, p.seq, nil, nil)
	}
	again := p.segment("data again")
	if again.seq != first.seq || time.Since(begin) > minRetransmit/2 {
		t.Fatalf("sent again at %d after %v", again.seq, time.Since(begin))
	}
}

func TestLostFinIsSentAgain(t *testing.T) {
	p, c := session(t)
	c.Close()
	first := p.expect(flagFIN, "FIN")
	if again := p.expect(flagFIN, "FIN again"); again.seq != first.seq {
		t.Fatalf("FIN at %d, then at %d", first.seq, again.seq)
	}
}

func TestSynTwiceIsOneConnection(t *testing.T) {
	p := newPeer(t)
	l := p.listen()
	p.tcp(flagSYN, p.seq, synWithOptions, nil)
	first := p.segment("SYN-ACK")
	p.tcp(flagSYN, p.seq, synWithOptions, nil)
	if second := p.segment("SYN-ACK"); second.seq != first.seq {
		t.Fatalf("sequence %d, then %d", first.seq, second.seq)
	}
	l.Accept()
	if n := p.s.Counts().Connections; n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestUnansweredHandshakeIsRepeatedAndForgotten(t *testing.T) {
	p := newPeer(t)
	p.listen()
	p.tcp(flagSYN, p.seq, synWithOptions, nil)
	first := p.segment("SYN-ACK")
	if again := p.segment("SYN-ACK again"); again.seq != first.seq {
		t.Fatalf("sequence %d, then %d", first.seq, again.seq)
	}
	p.ack = first.seq + 1
	p.tcp(flagRST, p.seq+1, nil, nil)
	p.settled()
}

func TestHoleIsNotSkipped(t *testing.T) {
	p, c := session(t)
	p.tcp(flagACK|flagPSH, p.seq+3, nil, []byte("def"))
	if h := p.segment("duplicate ACK"); h.ack != p.seq {
		t.Fatalf("ack %d, want %d", h.ack, p.seq)
	}
	p.tcp(flagACK|flagPSH, p.seq, nil, []byte("abcdef"))
	if got := read(t, c, 6); got != "abcdef" {
		t.Fatalf("host got %q", got)
	}
}

func TestOverlapIsTakenOnce(t *testing.T) {
	p, c := session(t)
	p.tcp(flagACK|flagPSH, p.seq, nil, []byte("abc"))
	p.tcp(flagACK|flagPSH, p.seq, nil, []byte("abcdef"))
	p.tcp(flagACK|flagPSH, p.seq+2, nil, []byte("cdefg"))
	if got := read(t, c, 7); got != "abcdefg" {
		t.Fatalf("host got %q", got)
	}
}

func TestClosedWindowIsProbedAndRespected(t *testing.T) {
	p := newPeer(t)
	p.wnd = 4
	l := p.listen()
	p.connect()
	c, _ := l.AcceptTCP()
	defer c.Close()
	c.Write([]byte("12345678"))
	h := p.segment("data")
	if len(h.data) > 4 {
		t.Fatalf("%d bytes in a window of 4", len(h.data))
	}
	p.ack, p.wnd = p.ack+uint32(len(h.data)), 0
	p.tcp(flagACK, p.seq, nil, nil)
	if h = p.segment("probe"); len(h.data) != 0 || h.seq != p.ack-1 {
		t.Fatalf("probe at %d with %d bytes, want %d with none", h.seq, len(h.data), p.ack-1)
	}
	p.wnd = 1000
	p.tcp(flagACK, p.seq, nil, nil)
	if got := p.receive(4); string(got) != "5678" {
		t.Fatalf("container got %q", got)
	}
}

func TestSlowHostClosesTheWindow(t *testing.T) {
	p, c := session(t)
	c.SetReadBuffer(256 << 10)
	var sent bytes.Buffer
	edge := uint32(65535) + p.seq
	for chunk := bytes.Repeat([]byte("0123456789abcdef"), 4096); ; { // 64 KiB
		n := min(int(int32(edge-p.seq)), len(chunk)-100)
		if n < 1000 {
			break
		}
		p.send(string(chunk[:n]))
		sent.Write(chunk[:n])
		got, ok := p.read(protoTCP, 500*time.Millisecond)
		if !ok {
			continue
		}
		h, _ := parseTCP(got.body)
		edge = h.ack + uint32(h.window)<<ourScale
		if sent.Len() > 64<<20 {
			t.Fatal("the window never closes")
		}
	}
	if b := p.s.Counts().Buffered; b > maxBacklog+2*chunkLen {
		t.Errorf("%d bytes are kept", b)
	}
	got := make([]byte, sent.Len())
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent.Bytes()) {
		t.Fatalf("host got something else: %v", err)
	}
	if h := p.expect(flagACK, "window update"); h.window == 0 {
		if h = p.expect(flagACK, "window update"); h.window == 0 {
			t.Error("the window stays closed")
		}
	}
}

func TestInboundShowsTheClient(t *testing.T) {
	p := newPeer(t)
	l := p.listen()
	client, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	host, _ := l.AcceptTCP()
	file, _ := host.File()
	host.Close()
	fd, _ := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	file.Close()

	from := netip.MustParseAddrPort("203.0.113.5:5555")
	p.s.Inbound(fd, from, 80)
	got, ok := p.read(protoTCP, time.Second)
	h, _ := parseTCP(got.body)
	if !ok || got.src != from.Addr() || h.sport != 5555 || h.dport != 80 || h.flags != flagSYN {
		t.Fatalf("got %v:%d -> %d flags %#x, want a SYN from %v to port 80", got.src, h.sport, h.dport, h.flags, from)
	}
	p.to, p.port = from, 80
	p.ack = h.seq + 1
	p.tcp(flagSYN|flagACK, p.seq, synWithOptions, nil)
	p.seq++
	p.expect(flagACK, "ACK")
	client.Write([]byte("hi"))
	if got := p.receive(2); string(got) != "hi" {
		t.Fatalf("container got %q", got)
	}
	p.send("ho")
	if got := read(t, client, 2); got != "ho" {
		t.Fatalf("client got %q", got)
	}
}

func TestSynFloodIsBounded(t *testing.T) {
	p := newPeer(t)
	p.listen().Close()
	for i := range 5000 {
		p.port = uint16(1024 + i)
		p.tcp(flagSYN, p.seq, nil, nil)
		for { // keep the pair from filling up
			if _, ok := p.read(protoTCP, 0); !ok {
				break
			}
		}
	}
	for {
		if _, ok := p.read(protoTCP, 100*time.Millisecond); !ok {
			break
		}
	}
	p.settled()
	if n := runtime.NumGoroutine(); n > 50 {
		t.Errorf("%d goroutines", n)
	}
}
