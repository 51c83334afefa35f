package stack

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// datagram sends a UDP datagram, cut into pieces of at most mtu bytes when it
// does not fit.
func (p *peer) datagram(to netip.AddrPort, data []byte) {
	u := make([]byte, udpLen, udpLen+len(data))
	binary.BigEndian.PutUint16(u, p.port)
	binary.BigEndian.PutUint16(u[2:], to.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(udpLen+len(data)))
	u = append(u, data...)
	const piece = 1480
	for at := 0; at < len(u); at += piece {
		part := u[at:min(at+piece, len(u))]
		b := make([]byte, ip6Len+len(part))
		n := putIP(b, boxAddr, to.Addr(), protoUDP, len(part))
		if len(u) > piece {
			where := uint16(at / 8)
			if at+piece < len(u) {
				where |= 0x2000
			}
			binary.BigEndian.PutUint16(b[4:], 77)
			binary.BigEndian.PutUint16(b[6:], where)
		}
		p.write(append(b[:n], part...))
	}
}

// answer reads a UDP datagram or fails.
func (p *peer) answer() (from netip.AddrPort, data []byte) {
	p.t.Helper()
	got, ok := p.read(protoUDP, 3*time.Second)
	if !ok {
		p.t.Fatal("no datagram")
	}
	return netip.AddrPortFrom(got.src, binary.BigEndian.Uint16(got.body)), got.body[udpLen:]
}

// udpServer opens a UDP socket on the host; the peer reaches it as elsewhere.
func udpServer(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c, netip.AddrPortFrom(elsewhere, uint16(c.LocalAddr().(*net.UDPAddr).Port))
}

func TestDatagramsBothWays(t *testing.T) {
	p := newPeer(t)
	c, to := udpServer(t)
	for _, size := range []int{0, 1, 1400, 1472, 1473, 9000, 60000} {
		want := bytes.Repeat([]byte{byte(size)}, size)
		p.datagram(to, want)
		b := make([]byte, 1<<16)
		n, from, err := c.ReadFromUDP(b)
		if err != nil || !bytes.Equal(b[:n], want) {
			t.Fatalf("%d bytes: host got %d, %v", size, n, err)
		}
		c.WriteToUDP(want, from)
		if src, got := p.answer(); src != to || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: container got %d from %v", size, len(got), src)
		}
	}
	if n := p.s.Counts().Flows; n != 1 {
		t.Errorf("%d flows, want 1", n)
	}
}

func TestRefusedDatagramIsSaidByICMP(t *testing.T) {
	p := newPeer(t)
	c, to := udpServer(t)
	c.Close()
	p.datagram(to, []byte("anybody?"))
	got, ok := p.read(protoICMP, time.Second)
	if !ok || got.body[0] != 3 || got.body[1] != 3 {
		t.Fatalf("got %x, want port unreachable", got.body)
	}
	if port := binary.BigEndian.Uint16(got.body[8+ip4Len+2:]); port != to.Port() {
		t.Errorf("quotes port %d, want %d", port, to.Port())
	}
}

func TestForbiddenDatagramIsProhibited(t *testing.T) {
	p := newPeer(t)
	p.datagram(netip.MustParseAddrPort("169.254.169.254:80"), []byte("credentials?"))
	if got, ok := p.read(protoICMP, time.Second); !ok || got.body[0] != 3 || got.body[1] != 13 {
		t.Fatalf("got %x, want prohibited", got.body)
	}
}

func TestFloodOfFlowsIsBounded(t *testing.T) {
	p := newPeer(t)
	_, to := udpServer(t)
	for i := range maxFlows + 500 {
		p.port = uint16(1024 + i)
		p.datagram(to, []byte("x"))
	}
	for start := time.Now(); p.s.Counts().Flows < maxFlows && time.Since(start) < 5*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // one too many would come now
	if n := p.s.Counts().Flows; n != maxFlows {
		t.Errorf("%d flows, want %d", n, maxFlows)
	}
}

func TestGatewayAnswersPing(t *testing.T) {
	p := newPeer(t)
	m := []byte{echoRequest4, 0, 0, 0, 1, 2, 0, 9, 'p', 'i', 'n', 'g'}
	b := make([]byte, ip6Len)
	n := putIP(b, boxAddr, gateway, protoICMP, len(m))
	p.write(append(b[:n], m...))
	got, ok := p.read(protoICMP, time.Second)
	if !ok || got.body[0] != echoReply4 || !bytes.Equal(got.body[4:], m[4:]) || fold(sum(0, got.body)) != 0xffff {
		t.Fatalf("got %x", got.body)
	}
}

// resolver plays one of the host's resolvers.
func resolver(t *testing.T, answer func(q []byte) []byte) netip.AddrPort {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			if a := answer(append([]byte(nil), b[:n]...)); a != nil {
				c.WriteToUDP(a, from)
			}
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// question is a query for "a.example", type A.
var exampleQuery = []byte("\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01")

func withCode(code byte) func([]byte) []byte {
	return func(q []byte) []byte {
		q[2] |= 0x80
		q[3] = q[3]&0xf0 | code
		return append(q, "unchanged"...)
	}
}

func TestQuestionsAreForwarded(t *testing.T) {
	silent := func([]byte) []byte { return nil }
	wrongID := func(q []byte) []byte { q[0]++; return withCode(0)(q) }
	tests := []struct {
		name    string
		servers []func([]byte) []byte
		code    byte
	}{
		{"an answer passes unchanged", []func([]byte) []byte{withCode(0)}, 0},
		{"no such name is an answer", []func([]byte) []byte{withCode(3), withCode(0)}, 3},
		{"a failing server is passed over", []func([]byte) []byte{withCode(2), withCode(0)}, 0},
		{"a refusing server is passed over", []func([]byte) []byte{withCode(5), withCode(3)}, 3},
		{"a silent server is passed over", []func([]byte) []byte{silent, withCode(0)}, 0},
		{"an answer to another question is none", []func([]byte) []byte{wrongID, withCode(3)}, 3},
		{"when all fail, so does the question", []func([]byte) []byte{withCode(5), withCode(2)}, 2},
		{"nobody there", nil, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t)
			var list []netip.AddrPort
			for _, s := range test.servers {
				list = append(list, resolver(t, s))
			}
			if list == nil {
				c, to := udpServer(t)
				c.Close()
				list = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())}
			}
			p.s.do(func() { p.s.dns.resolvers = func() []netip.AddrPort { return list } })
			p.datagram(netip.AddrPortFrom(gateway, 53), exampleQuery)
			from, got := p.answer()
			if from.Addr() != gateway || len(got) < 12 || got[0] != 0xab || got[2]&0x80 == 0 || got[3]&15 != test.code {
				t.Fatalf("got %q from %v, want code %d", got, from, test.code)
			}
			if n := p.s.Counts().Queries; n != 0 {
				t.Errorf("%d questions left", n)
			}
		})
	}
}

func TestFloodOfQuestionsIsBounded(t *testing.T) {
	p := newPeer(t)
	silent := []netip.AddrPort{resolver(t, func([]byte) []byte { return nil })}
	p.s.do(func() { p.s.dns.resolvers = func() []netip.AddrPort { return silent } })
	for i := range maxQueries + 300 {
		q := append([]byte(nil), exampleQuery...)
		binary.BigEndian.PutUint16(q, uint16(i))
		p.datagram(netip.AddrPortFrom(gateway, 53), q)
	}
	time.Sleep(100 * time.Millisecond)
	if n := p.s.Counts().Queries; n > maxQueries {
		t.Errorf("%d questions in flight, want at most %d", n, maxQueries)
	}
}

func TestHostileFragments(t *testing.T) {
	piece := func(offset int, more bool, n int) packet {
		return packet{src: boxAddr, dst: elsewhere, proto: protoUDP, ident: 1, fragment: true, offset: offset, more: more, body: make([]byte, n)}
	}
	tests := map[string][]packet{
		"overlap":            {piece(0, true, 16), piece(8, true, 16), piece(24, false, 8)},
		"beyond the end":     {piece(8, false, 8), piece(16, true, 8), piece(0, true, 8)},
		"two ends":           {piece(8, false, 8), piece(16, false, 8), piece(0, true, 8)},
		"too long":           {piece(65528, true, 16), piece(0, true, 65528)},
		"odd length":         {piece(0, true, 9), piece(9, false, 1)},
		"empty":              {piece(0, true, 0), piece(0, false, 0)},
		"never the last one": {piece(0, true, 8), piece(8, true, 8)},
	}
	for name, list := range tests {
		var r reassembly
		for _, p := range list {
			if whole, ok := r.add(p, 1); ok {
				t.Errorf("%s: gave %d bytes", name, len(whole.body))
			}
		}
	}
	var r reassembly
	for i := range 1000 {
		p := piece(0, true, 1400)
		p.ident = uint32(i)
		r.add(p, int64(i))
	}
	if len(r.list) > maxFragmented {
		t.Errorf("%d datagrams wait", len(r.list))
	}
	r.expire(int64(fragmentTimeout) + 2000)
	if len(r.list) != 0 {
		t.Errorf("%d datagrams wait for ever", len(r.list))
	}
}

func TestPolicy(t *testing.T) {
	forbidden := []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1",
		"169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "fd00:ec2::23", "fd00:42::42", "fd00:c1::a9fe:a9fe", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:7::7f00:1", "2002:7f00:1::", "::ffff:169.254.169.254",
		"224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1", "ff05::2", "fe80::1%eth0",
	}
	for _, s := range forbidden {
		if (Policy{}).Allows(netip.MustParseAddr(s)) {
			t.Errorf("%s is allowed", s)
		}
	}
	for _, s := range []string{"192.0.2.1", "10.0.2.7", "192.168.1.1", "2001:db8::1", "fd00::1", "::ffff:192.0.2.1", "64:ff9b::c000:201"} {
		if !(Policy{}).Allows(netip.MustParseAddr(s)) {
			t.Errorf("%s is refused", s)
		}
	}
	open := Policy{Metadata: true, HostLoopback: true}
	for _, s := range []string{"127.0.0.1", "::1", "::", "0.0.0.0", "::ffff:127.0.0.1"} {
		if open.Allows(netip.MustParseAddr(s)) {
			t.Errorf("%s is allowed; only the gateway stands for it", s)
		}
	}
	if !open.Allows(netip.MustParseAddr("169.254.169.254")) {
		t.Error("metadata is refused although asked for")
	}
	if to, ok := open.destination(gateway, gateway); !ok || to.String() != "127.0.0.1" {
		t.Errorf("gateway leads to %v, %v", to, ok)
	}
	if _, ok := (Policy{}).destination(gateway, gateway); ok {
		t.Error("the gateway stands for the host's loopback by default")
	}
}

// FuzzPacket feeds the stack what a hostile container may write to the
// device. It must neither panic nor keep more than its limits.
func FuzzPacket(f *testing.F) {
	add := func(write func(p *peer)) {
		var pair [2]int
		pair, _ = unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		write(&peer{t: f, fd: pair[0], port: 40000, to: netip.AddrPortFrom(elsewhere, 80), seq: 1, wnd: 1000})
		b := make([]byte, 1<<16)
		n, _ := unix.Read(pair[1], b)
		f.Add(b[vnetLen:n], b[vnetLen:n])
		unix.Close(pair[0])
		unix.Close(pair[1])
	}
	add(func(p *peer) { p.tcp(flagSYN, 1, synWithOptions, nil) })
	add(func(p *peer) { p.tcp(flagACK|flagFIN, 2, nil, []byte("data")) })
	add(func(p *peer) {
		p.to = netip.MustParseAddrPort("[2001:db8::1]:80")
		p.tcp(flagSYN, 1, synWithOptions, nil)
	})
	add(func(p *peer) { p.datagram(netip.AddrPortFrom(elsewhere, 9), []byte("x")) })
	add(func(p *peer) { p.datagram(netip.AddrPortFrom(gateway, 53), exampleQuery) })
	add(func(p *peer) { p.datagram(netip.AddrPortFrom(elsewhere, 9), make([]byte, 3000)) })
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	s, fd := bareStack(f)
	s.destination = func(netip.Addr, netip.Addr) (netip.Addr, bool) { return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true }
	s.port = uint16(l.Addr().(*net.TCPAddr).Port)
	s.dns.resolvers = func() []netip.AddrPort { return []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()} }
	events := make([]unix.EpollEvent, 128)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, b := range [][]byte{first, second} {
			s.packet(append([]byte(nil), b...))
			s.again = append(s.again, nothing{}) // do not wait
			if err := s.turn(events); err != nil {
				t.Fatal(err)
			}
			s.acknowledge()
			s.part()
		}
		b := make([]byte, 1<<16+vnetLen)
		for {
			n, err := unix.Read(fd, b)
			if err != nil {
				break
			}
			if _, ok := parse(b[vnetLen:n]); !ok {
				t.Fatalf("sent a malformed packet %x", b[:n])
			}
		}
		if len(s.conns) > maxConns || s.dialing.size > maxDialing || s.flows.size() > maxFlows || s.chunks.used*chunkLen > maxBuffered {
			t.Fatal("a limit is exceeded")
		}
	})
}

type nothing struct{}

func (nothing) ready(uint32) {}
