package stack

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	boxAddr   = netip.MustParseAddr("10.0.2.100")
	gateway   = netip.MustParseAddr("10.0.2.2")
	elsewhere = netip.MustParseAddr("198.51.100.7") // stands for 127.0.0.1 in tests
)

func testConfig() Config {
	return Config{Device: "eth0", Addresses: []netip.Prefix{netip.PrefixFrom(boxAddr, 24), netip.MustParsePrefix("fd62:7279:6f00::64/64")},
		Gateways: []netip.Addr{gateway, netip.MustParseAddr("fd62:7279:6f00::2")}}
}

// A peer plays the container's kernel: what it sends and receives are the
// packets on the device, here a socket pair.
type peer struct {
	t  testing.TB
	s  *Stack
	fd int

	port uint16 // its own
	to   netip.AddrPort
	seq  uint32 // next to send
	ack  uint32 // next expected
	wnd  uint16
}

// newPeer starts a stack whose device is a socket pair. All destinations
// stand for 127.0.0.1, except those that the policy refuses.
func newPeer(t testing.TB) *peer {
	s, fd := bareStack(t)
	if err := s.watch(s.dev.fd, &inbound{s, 1}, unix.EPOLLIN); err != nil {
		t.Fatal(err)
	}
	go s.run()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("stack ended: %v", err)
		}
	})
	return &peer{t: t, s: s, fd: fd, port: 40000, seq: 1000, wnd: 64240}
}

func bareStack(t testing.TB) (*Stack, int) {
	s, err := newStack(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range pair {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	}
	s.dev = &device{fd: pair[0]}
	policy := Policy{}
	s.destination = func(a, gw netip.Addr) (netip.Addr, bool) {
		if _, ok := policy.destination(a, gw); !ok {
			return a, false
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	return s, pair[1]
}

// listen opens a TCP listener that the peer reaches as elsewhere.
func (p *peer) listen() *net.TCPListener {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { l.Close() })
	p.to = netip.AddrPortFrom(elsewhere, uint16(l.Addr().(*net.TCPAddr).Port))
	return l
}

// write puts one packet on the device.
func (p *peer) write(ip []byte) {
	if _, err := unix.Write(p.fd, append(make([]byte, vnetLen), ip...)); err != nil {
		p.t.Fatalf("write to device: %v", err)
	}
}

// read takes the next packet of a protocol from the device; ok is false when
// none comes in time.
func (p *peer) read(proto uint8, wait time.Duration) (got packet, ok bool) {
	p.t.Helper()
	for until := time.Now().Add(wait); ; {
		left := time.Until(until)
		if left < 0 {
			return got, false
		}
		poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(poll, int(left/time.Millisecond)+1); n <= 0 {
			continue
		}
		b := make([]byte, vnetLen+1<<16)
		n, err := unix.Read(p.fd, b)
		if err != nil {
			continue
		}
		if got, ok = parse(b[vnetLen:n]); !ok {
			p.t.Fatalf("malformed packet %x", b[vnetLen:n])
		}
		checkOffload(p.t, b[:n])
		if got.proto == proto {
			return got, true
		}
	}
}

// checkOffload does what the kernel would do with the virtio header.
func checkOffload(t testing.TB, b []byte) {
	t.Helper()
	if b[0] != vnetNeedsChecksum {
		return
	}
	start, offset := int(binary.NativeEndian.Uint16(b[6:])), int(binary.NativeEndian.Uint16(b[8:]))
	body := b[vnetLen+start:]
	partial := binary.BigEndian.Uint16(body[offset:])
	p, _ := parse(b[vnetLen:])
	if want := fold(pseudo(p.src, p.dst, p.proto) + uint32(len(body))); partial != want {
		t.Fatalf("pseudo-header sum %#x, want %#x", partial, want)
	}
	if mss := int(binary.NativeEndian.Uint16(b[4:])); (b[1] != 0) != (mss != 0) {
		t.Fatalf("segment type %d with size %d", b[1], mss)
	}
	if want := int(binary.NativeEndian.Uint16(b[2:])); want > len(b)-vnetLen {
		t.Fatalf("header length %d in %d", want, len(b))
	}
}

// tcp sends a segment.
func (p *peer) tcp(flags byte, seq uint32, options, data []byte) {
	t := make([]byte, tcpLen, tcpLen+len(options)+len(data))
	binary.BigEndian.PutUint16(t, p.port)
	binary.BigEndian.PutUint16(t[2:], p.to.Port())
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], p.ack)
	t[12], t[13] = byte((tcpLen+len(options))/4)<<4, flags
	binary.BigEndian.PutUint16(t[14:], p.wnd)
	t = append(append(t, options...), data...)
	b := make([]byte, ip6Len+len(t))
	src := boxAddr
	if p.to.Addr().Is6() {
		src = netip.MustParseAddr("fd62:7279:6f00::64")
	}
	n := putIP(b, src, p.to.Addr(), protoTCP, len(t))
	p.write(append(b[:n], t...))
}

var synWithOptions = []byte{2, 4, 1460 >> 8, 1460 & 255, 1, 3, 3, 0}

// segment reads the next TCP segment or fails.
func (p *peer) segment(what string) tcpHeader {
	p.t.Helper()
	got, ok := p.read(protoTCP, 3*time.Second)
	if !ok {
		p.t.Fatalf("no packet: want %s", what)
	}
	h, ok := parseTCP(got.body)
	if !ok {
		p.t.Fatalf("malformed segment: want %s", what)
	}
	return h
}

// connect makes the handshake.
func (p *peer) connect() {
	p.t.Helper()
	p.tcp(flagSYN, p.seq, synWithOptions, nil)
	h := p.segment("SYN-ACK")
	if h.flags != flagSYN|flagACK || h.ack != p.seq+1 {
		p.t.Fatalf("flags %#x ack %d, want SYN-ACK of %d", h.flags, h.ack, p.seq+1)
	}
	p.seq++
	p.ack = h.seq + 1
	p.tcp(flagACK, p.seq, nil, nil)
}

// send sends data and advances.
func (p *peer) send(data string) {
	p.tcp(flagACK|flagPSH, p.seq, nil, []byte(data))
	p.seq += uint32(len(data))
}

// receive reads n bytes of the stream and acknowledges them.
func (p *peer) receive(n int) []byte {
	p.t.Helper()
	var got []byte
	for len(got) < n {
		h := p.segment("data")
		if len(h.data) == 0 {
			continue
		}
		if h.seq != p.ack {
			p.t.Fatalf("data at %d, want %d", h.seq, p.ack)
		}
		got = append(got, h.data...)
		p.ack += uint32(len(h.data))
		p.tcp(flagACK, p.seq, nil, nil)
	}
	return got
}

// expect reads segments until one has all these flags.
func (p *peer) expect(flags byte, what string) tcpHeader {
	p.t.Helper()
	for {
		if h := p.segment(what); h.flags&flags == flags {
			return h
		}
	}
}
