package dns

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

type table map[string][]netip.Addr

func (t table) Addresses(_ netip.Addr, name string) ([]netip.Addr, bool) {
	a, ok := t[name]
	return a, ok
}

func (t table) Name(_, address netip.Addr) (string, bool) {
	for name, list := range t {
		for _, a := range list {
			if a == address {
				return name + ".net", true
			}
		}
	}
	return "", netip.MustParsePrefix("172.18.0.0/16").Contains(address)
}

var known = table{"web": {netip.MustParseAddr("172.18.0.2")}, "six": {netip.MustParseAddr("fd00::2")}}

// upstream is a resolver of the host: it knows host.example, refuses refused.example
// and cuts big.example over UDP.
func upstream(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	listener, err := net.Listen("tcp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	reply := func(m []byte, tcp bool) []byte {
		var p dnsmessage.Parser
		h, _ := p.Start(m)
		q, err := p.Question()
		if err != nil {
			return nil
		}
		a := answer{h, q}
		switch q.Name.String() {
		case "host.example.":
			return a.addresses([]netip.Addr{netip.MustParseAddr("192.0.2.7")})
		case "refused.example.":
			return finish(a.begin(dnsmessage.RCodeRefused))
		case "big.example.":
			if tcp {
				return a.addresses([]netip.Addr{netip.MustParseAddr("192.0.2.8")})
			}
			m := a.addresses(nil)
			m[2] |= 2 // truncated
			return m
		}
		return finish(a.begin(dnsmessage.RCodeNameError))
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort([]byte{b[0], b[1] ^ 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}, from) // of another question
			conn.WriteToUDPAddrPort(reply(b[:n], false), from)
		}
	}()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			if m, err := readFrame(c); err == nil {
				writeFrame(c, reply(m, true))
			}
			c.Close()
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func ask(t *testing.T, network, server, name string, kind dnsmessage.Type) (dnsmessage.RCode, bool, string) {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	if err != nil {
		t.Fatal(err)
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 77, RecursionDesired: true})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET})
	m, _ := b.Finish()
	got := exchange(network, netip.MustParseAddrPort(server), m, 5*time.Second)
	var msg dnsmessage.Message
	if got == nil || msg.Unpack(got) != nil {
		t.Fatalf("%s %s: no answer", network, name)
	}
	var all []string
	for _, r := range msg.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			all = append(all, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			all = append(all, netip.AddrFrom16(body.AAAA).String())
		case *dnsmessage.PTRResource:
			all = append(all, body.PTR.String())
		}
	}
	return msg.RCode, msg.Truncated, strings.Join(all, " ")
}

func TestServer(t *testing.T) {
	up := upstream(t)
	dead := netip.MustParseAddrPort("127.0.0.1:9") // nobody answers there
	s := New(known, func(netip.Addr) []netip.AddrPort { return []netip.AddrPort{dead, up} })
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	listener, err := net.Listen("tcp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go s.Serve(conn)
	go s.ServeTCP(listener)
	const a, aaaa, ptr = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR
	for _, c := range []struct {
		network, name string
		kind          dnsmessage.Type
		code          dnsmessage.RCode
		cut           bool
		want          string
	}{
		{"udp", "web.", a, 0, false, "172.18.0.2"},
		{"udp", "WEB.", a, 0, false, "172.18.0.2"},
		{"tcp", "web.", a, 0, false, "172.18.0.2"},
		{"udp", "web.", aaaa, 0, false, ""}, // it exists: NOERROR
		{"udp", "six.", aaaa, 0, false, "fd00::2"},
		{"udp", "web.", dnsmessage.TypeMX, 0, false, ""},
		{"udp", "2.0.18.172.in-addr.arpa.", ptr, 0, false, "web.net."},
		{"udp", "9.0.18.172.in-addr.arpa.", ptr, dnsmessage.RCodeNameError, false, ""},
		{"udp", "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", ptr, 0, false, "six.net."},
		{"udp", "1.2.0.192.in-addr.arpa.", ptr, dnsmessage.RCodeNameError, false, ""},
		{"udp", "host.example.", a, 0, false, "192.0.2.7"},
		{"udp", "host.example.", aaaa, 0, false, ""},
		{"udp", "absent.example.", a, dnsmessage.RCodeNameError, false, ""},
		{"udp", "refused.example.", a, dnsmessage.RCodeRefused, false, ""},
		{"udp", "big.example.", a, 0, true, ""},
		{"tcp", "big.example.", a, 0, false, "192.0.2.8"},
	} {
		code, cut, got := ask(t, c.network, conn.LocalAddr().String(), c.name, c.kind)
		if code != c.code || cut != c.cut || got != c.want {
			t.Errorf("%s %s %s: %s, cut %t, %q", c.network, c.name, c.kind, code, cut, got)
		}
	}
	question := []byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04host\x00\x00\x01\x00\x01")
	if m := New(known, nil).forward(up.Addr(), question, "udp"); len(m) < header || m[3]&15 != 2 {
		t.Errorf("an internal network: %x", m)
	}
}

// stuck is a network whose neighbour does not answer.
type stuck struct {
	table
	asked, end chan struct{}
}

func (s stuck) Addresses(from netip.Addr, name string) ([]netip.Addr, bool) {
	if name == "stuck" {
		s.asked <- struct{}{}
		<-s.end
	}
	return s.table.Addresses(from, name)
}

func TestSlowNameKeepsNobody(t *testing.T) {
	names := stuck{known, make(chan struct{}), make(chan struct{})}
	defer close(names.end)
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go New(names, nil).Serve(conn)
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05stuck\x00\x00\x01\x00\x01")); err != nil {
		t.Fatal(err)
	}
	<-names.asked
	if _, _, got := ask(t, "udp", conn.LocalAddr().String(), "web.", dnsmessage.TypeA); got != "172.18.0.2" {
		t.Errorf("got %q", got)
	}
}

func FuzzLocal(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, m []byte) {
		from := netip.MustParseAddr("172.18.0.3")
		if a := local(known, from, m); a != nil && len(a) < header {
			t.Errorf("answer of %d bytes", len(a))
		}
		if IsQuestion(m) {
			_ = Answers(m, m)
			if a := Failure(append([]byte(nil), m...)); !Answers(a, m) || !Unwilling(a) {
				t.Errorf("failure of %x: %x", m, a)
			}
		}
	})
}
