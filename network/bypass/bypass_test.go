package bypass

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func inet(addr string) []byte  { return parsed(unix.AF_INET, addr).bytes() }
func inet6(addr string) []byte { return parsed(unix.AF_INET6, addr).bytes() }

func parsed(family uint16, addr string) address {
	return address{family: family, to: netip.MustParseAddrPort(addr)}
}

func TestParseAddress(t *testing.T) {
	scoped := address{family: unix.AF_INET6, to: netip.MustParseAddrPort("[fe80::1]:80"), flow: 7, scope: 3}
	for _, c := range []struct {
		name string
		raw  []byte
		want address
		err  error
	}{
		{"IPv4", inet("192.0.2.1:80"), parsed(unix.AF_INET, "192.0.2.1:80"), nil},
		{"IPv4 in a long buffer", append(inet("192.0.2.1:80"), make([]byte, 94)...), parsed(unix.AF_INET, "192.0.2.1:80"), nil},
		{"IPv4 cut", inet("192.0.2.1:80")[:15], address{}, unix.EINVAL},
		{"IPv6", inet6("[2001:db8::1]:80"), parsed(unix.AF_INET6, "[2001:db8::1]:80"), nil},
		{"IPv6 without scope", inet6("[2001:db8::1]:80")[:24], parsed(unix.AF_INET6, "[2001:db8::1]:80"), nil},
		{"IPv6 cut", inet6("[2001:db8::1]:80")[:23], address{}, unix.EINVAL},
		{"IPv6 with scope and flow", scoped.bytes(), scoped, nil},
		{"no family", []byte{0}, address{}, unix.EINVAL},
		{"unspecified family, short", []byte{0, 0}, address{}, nil},
		{"Unix", []byte{1, 0, 'a'}, address{}, unix.EAFNOSUPPORT},
	} {
		got, err := parseAddress(c.raw)
		if err != c.err || err == nil && got != c.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", c.name, got, err, c.want, c.err)
		}
	}
}

func TestRoute(t *testing.T) {
	gateway := netip.MustParseAddr("10.0.2.2")
	h := &Handler{
		cfg: Config{
			Allows:   func(a netip.Addr) bool { return a != netip.MustParseAddr("169.254.169.254") },
			Gateways: []netip.Addr{gateway},
			Ports:    []Port{{Container: 80, Host: netip.MustParseAddrPort("0.0.0.0:8080")}},
		},
		wall: wall{
			addresses: []netip.Addr{netip.MustParseAddr("10.0.2.100"), netip.MustParseAddr("172.20.0.5")},
			subnets:   []netip.Prefix{netip.MustParsePrefix("172.20.0.0/16")},
		},
		live: map[int]bool{0: true},
	}
	tcp := &socket{domain: unix.AF_INET, kind: unix.SOCK_STREAM, protocol: unix.IPPROTO_TCP, host: true}
	udp := &socket{domain: unix.AF_INET, kind: unix.SOCK_DGRAM, protocol: unix.IPPROTO_UDP, host: true}
	for _, c := range []struct {
		name    string
		s       *socket
		a       address
		want    string
		outside bool
	}{
		{"the world", tcp, parsed(unix.AF_INET, "192.0.2.1:80"), "192.0.2.1:80", true},
		{"the world, mapped", udp, parsed(unix.AF_INET6, "[::ffff:192.0.2.1]:80"), "[::ffff:192.0.2.1]:80", true},
		{"not allowed", tcp, parsed(unix.AF_INET, "169.254.169.254:80"), "169.254.169.254:80", false},
		{"not allowed, mapped", tcp, parsed(unix.AF_INET6, "[::ffff:169.254.169.254]:80"), "[::ffff:169.254.169.254]:80", false},
		{"loopback", tcp, parsed(unix.AF_INET, "127.9.9.9:81"), "127.9.9.9:81", false},
		{"loopback, mapped", udp, parsed(unix.AF_INET6, "[::ffff:127.0.0.1]:81"), "[::ffff:127.0.0.1]:81", false},
		{"unspecified", tcp, parsed(unix.AF_INET, "0.0.0.0:81"), "0.0.0.0:81", false},
		{"own address", tcp, parsed(unix.AF_INET, "10.0.2.100:81"), "10.0.2.100:81", false},
		{"beside the single address", tcp, parsed(unix.AF_INET, "10.0.2.101:81"), "10.0.2.101:81", true},
		{"a network of containers", tcp, parsed(unix.AF_INET, "172.20.0.9:81"), "172.20.0.9:81", false},
		{"a scope", tcp, address{family: unix.AF_INET6, to: netip.MustParseAddrPort("[2001:db8::1]:80"), scope: 2}, "[2001:db8::1]:80", false},
		{"gateway", tcp, parsed(unix.AF_INET, "10.0.2.2:5432"), "127.0.0.1:5432", true},
		{"gateway's names", tcp, parsed(unix.AF_INET, "10.0.2.2:53"), "10.0.2.2:53", false},
		{"gateway by UDP", udp, parsed(unix.AF_INET, "10.0.2.2:5432"), "10.0.2.2:5432", false},
		{"own published port", tcp, parsed(unix.AF_INET, "127.0.0.1:80"), "127.0.0.1:8080", true},
		{"own published port by UDP", udp, parsed(unix.AF_INET, "127.0.0.1:80"), "127.0.0.1:80", false},
	} {
		to, outside := h.route(c.s, c.a)
		if to.String() != c.want || outside != c.outside {
			t.Errorf("%s: %v, outside %v, want %s, %v", c.name, to, outside, c.want, c.outside)
		}
	}
}

// TestPublished: which port of the host a program's bind to port 80 means.
func TestPublished(t *testing.T) {
	var ports []Port
	for _, host := range []string{"127.0.0.1:8080", "192.0.2.1:8081", "[::1]:8082"} {
		ports = append(ports, Port{Container: 80, Host: netip.MustParseAddrPort(host)})
	}
	for _, c := range []struct {
		name         string
		domain, only int
		addr         string
		ports        []Port
		want         int
	}{
		{"IPv4, the first", unix.AF_INET, 0, "0.0.0.0", ports, 0},
		{"IPv6", unix.AF_INET6, 0, "::", ports, 2},
		{"IPv6 only", unix.AF_INET6, 1, "::", ports, 2},
		{"IPv6 for IPv4 too", unix.AF_INET6, 0, "::", ports[:2], 0},
		{"IPv6 only beside IPv4", unix.AF_INET6, 1, "::", ports[:2], -1},
		{"IPv4 beside IPv6", unix.AF_INET, 0, "0.0.0.0", ports[2:], -1},
		{"loopback", unix.AF_INET, 0, "127.0.0.1", ports, -1},
	} {
		fd, err := unix.Socket(c.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skip("no IPv6 here")
		}
		defer unix.Close(fd)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, c.only)
		h := &Handler{cfg: Config{Ports: c.ports}}
		s := &socket{fd: fd, domain: c.domain, kind: unix.SOCK_STREAM, protocol: unix.IPPROTO_TCP, host: true}
		if got := h.published(s, netip.MustParseAddr(c.addr), 80); got != c.want {
			t.Errorf("%s: port %d, want %d", c.name, got, c.want)
		}
	}
}

func TestTowards(t *testing.T) {
	for _, c := range []struct {
		from   address
		to     string
		family uint16
		want   string
	}{
		{parsed(unix.AF_INET, "10.0.2.2:80"), "127.0.0.1:80", unix.AF_INET, "127.0.0.1:80"},
		{parsed(unix.AF_INET6, "[::ffff:10.0.2.2]:80"), "127.0.0.1:80", unix.AF_INET6, "[::ffff:127.0.0.1]:80"},
		{parsed(unix.AF_INET6, "[::]:80"), "0.0.0.0:8080", unix.AF_INET6, "[::ffff:0.0.0.0]:8080"},
	} {
		got := c.from.towards(netip.MustParseAddrPort(c.to))
		if got.family != c.family || got.to.String() != c.want {
			t.Errorf("%v towards %s: family %d, %v", c.from.to, c.to, got.family, got.to)
		}
	}
}

func control(level, kind int32, data []byte) []byte {
	return appendControl(nil, unix.SocketControlMessage{Header: unix.Cmsghdr{Level: level, Type: kind}, Data: data})
}

func TestPlainControl(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"none", nil, nil},
		{"packet information", control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 12)), nil},
		{"segments", control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, make([]byte, 2)), nil},
		{"source route", control(unix.IPPROTO_IP, unix.IP_RETOPTS, make([]byte, 12)), unix.EINVAL},
		{"routing header", control(unix.IPPROTO_IPV6, unix.IPV6_RTHDR, make([]byte, 24)), unix.EINVAL},
		{"descriptors", unix.UnixRights(0), unix.EINVAL},
		{"second of two", append(control(unix.IPPROTO_IP, unix.IP_TTL, make([]byte, 4)), control(unix.IPPROTO_IP, unix.IP_RETOPTS, make([]byte, 4))...), unix.EINVAL},
		{"cut", control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 12))[:20], unix.EINVAL},
		{"less than a header", make([]byte, 10), nil},
	} {
		got, err := plainControl(c.raw)
		if err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil && len(c.raw) >= unix.SizeofCmsghdr && !bytes.Equal(got, c.raw) {
			t.Errorf("%s: % x became % x", c.name, c.raw, got)
		}
	}
}

// FuzzAddress: what is made anew from a caller's bytes means what was judged.
func FuzzAddress(f *testing.F) {
	f.Add(inet("127.0.0.1:80"))
	f.Add(inet6("[::ffff:127.0.0.1]:80"))
	f.Add([]byte{0, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := parseAddress(raw)
		if err != nil {
			return
		}
		b := a.bytes()
		if binary.NativeEndian.Uint16(b) != a.family {
			t.Fatalf("family %d became %d", a.family, binary.NativeEndian.Uint16(b))
		}
		again, err := parseAddress(b)
		if err != nil || again.to != a.to && a.to.IsValid() {
			t.Fatalf("%v became %v (%v)", a.to, again.to, err)
		}
		if a.family == unix.AF_INET && !bytes.Equal(b[:8], raw[:8]) {
			t.Fatalf("% x became % x", raw[:8], b[:8])
		}
	})
}

// TestOptionsGoAlong copies between two sockets of this process.
func TestOptionsGoAlong(t *testing.T) {
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skip("no IPv6 here")
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	s := &socket{fd: fds[0], domain: unix.AF_INET6, kind: unix.SOCK_STREAM, protocol: unix.IPPROTO_TCP}
	set := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1}, {unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}, {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, 1 << 16}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 33},
	}
	for _, o := range set {
		if err := unix.SetsockoptInt(fds[0], o.level, o.name, o.value); err != nil {
			t.Fatal(err)
		}
	}
	copyOptions(s, fds[1])
	for _, o := range set {
		want, _ := unix.GetsockoptInt(fds[0], o.level, o.name)
		if got, err := unix.GetsockoptInt(fds[1], o.level, o.name); err != nil || got != want {
			t.Errorf("option %d of %d: %d (%v), want %d", o.name, o.level, got, err, want)
		}
	}
}

// patient is a caller that goes on waiting.
type patient struct{ Calls }

func (patient) Valid(uint64) error { return nil }

// TestPlacesAreBounded: duplicates times epoll instances are many.
func TestPlacesAreBounded(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	numbers, opened := []int{fd}, []int{fd}
	for range 19 {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 0)
		if err != nil {
			t.Fatal(err)
		}
		numbers, opened = append(numbers, n), append(opened, n)
	}
	for range 20 {
		epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, epoll)
		for _, n := range numbers {
			if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, n, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer func() {
		for _, n := range opened {
			unix.Close(n)
		}
	}()
	p := &pending{Call: Call{TID: os.Getpid()}, from: patient{}}
	found, err := p.places(&socket{fd: fd, number: fd})
	if err != nil || len(found.watches) != maxWatches || len(found.numbers) != len(numbers) {
		t.Fatalf("%d numbers, %d watches, %v; want %d, %d", len(found.numbers), len(found.watches), err, len(numbers), maxWatches)
	}
	if !found.numbers[0].cloexec || found.numbers[1].cloexec {
		t.Errorf("close-on-exec of the numbers: %v", found.numbers)
	}
}
