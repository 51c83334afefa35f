package port

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"80", "[80/tcp]"},
		{"8080:80/udp", "[8080 80/udp]"},
		{"127.0.0.1:8080:80", "[127.0.0.1 8080 80/tcp]"},
		{"[::1]:8080:80", "[::1 8080 80/tcp]"},
		{"::1:8080:80", "[::1 8080 80/tcp]"},
		{"[::ffff:127.0.0.1]:8080:80", "[127.0.0.1 8080 80/tcp]"},
		{"127.0.0.1::80", "[127.0.0.1 80/tcp]"},
		{"8000-8001:80-81", "[8000 80/tcp 8001 81/tcp]"},
		{"8000-8009:80", "[8000-8009 80/tcp]"},
		{"target=80,published=8080,protocol=udp", "[8080 80/udp]"},
		{"80/sctp", "publish 80/sctp: protocol sctp is not supported: tcp or udp"},
		{"0", "publish 0: port 0 of a container is none"},
		{"8080:", "no port specified: 8080:<empty>"},
		{"localhost:8080:80", "invalid IP address: localhost"},
		{"80000", "invalid containerPort: 80000"},
		{"8000-8002:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000-8002"},
		{"colour=red", `invalid publish option: "colour": target, published and protocol are there`},
		{"target=80,x", "invalid publish opts format (should be name=value but got 'x')"},
	} {
		list, err := Parse(c.text)
		got := fmt.Sprint(words(list))
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

func words(list []Mapping) (out []string) {
	for _, m := range list {
		if m.HostIP.IsValid() {
			out = append(out, m.HostIP.String())
		}
		if p := m.HostPort(); p != "" {
			out = append(out, p)
		}
		out = append(out, m.Container())
	}
	return out
}

func TestShow(t *testing.T) {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	open := []Mapping{
		{any4, 8081, 0, 81, TCP}, {any4, 8080, 0, 80, TCP}, {any4, 9000, 0, 82, TCP},
		{any6, 8080, 0, 80, TCP}, {any6, 8081, 0, 81, TCP}, {any4, 53, 0, 53, UDP},
	}
	const want = "0.0.0.0:8080-8081->80-81/tcp, 0.0.0.0:9000->82/tcp, 0.0.0.0:53->53/udp, [::]:8080-8081->80-81/tcp, 99/tcp"
	if got := Show(open, []string{"80/tcp", "99/tcp"}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOpenAllOrNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	loopback := netip.MustParseAddr("127.0.0.1")
	used := uint16(taken.Addr().(*net.TCPAddr).Port)
	free := Mapping{HostIP: loopback, Port: 80, Protocol: TCP}
	first, err := Open([]Mapping{free}, nil)
	if err != nil {
		t.Fatal(err)
	}
	chosen := first.Mappings()[0].First
	first.Close()
	free.First = chosen
	_, err = Open([]Mapping{free, {HostIP: loopback, First: used, Last: used, Port: 81, Protocol: TCP}}, nil)
	if !errors.Is(err, unix.EADDRINUSE) && (err == nil || !strings.Contains(err.Error(), "address already in use")) {
		t.Errorf("a taken port: %v", err)
	}
	again, err := Open([]Mapping{{HostIP: loopback, First: used, Last: used + 20, Port: 81, Protocol: TCP}, free}, nil)
	if err != nil {
		t.Fatalf("the first attempt held a port, or a range was not tried: %v", err)
	}
	defer again.Close()
	if got := again.Mappings(); got[0].First != chosen || got[1].First == used {
		t.Errorf("opened %v", got)
	}
}

func TestRandomPortIsTheOneOfBefore(t *testing.T) {
	m := Mapping{Port: 80, Protocol: TCP}
	first, err := Open([]Mapping{m}, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := first.Mappings()
	first.Close()
	second, err := Open([]Mapping{m}, before)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if got := second.Mappings(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("got %v, before %v", got, before)
	}
}

// Both families of one mapping have one number.
func TestRandomPortIsTheSameForBothFamilies(t *testing.T) {
	s, err := Open([]Mapping{{Port: 53, Protocol: UDP}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, m := range s.Mappings() {
		if m.First == 0 || m.First != s.Mappings()[0].First {
			t.Errorf("opened %v", s.Mappings())
		}
	}
}

// pair is a TCP connection over loopback.
func pair(t *testing.T) (near, far *net.TCPConn) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

func TestRelayPassesBytesAndEnds(t *testing.T) {
	client, host := pair(t)
	inside, server := pair(t)
	done := make(chan bool)
	go func() { (&relay{host, inside}).run(); close(done) }()
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	go func() { _, _ = client.Write(data); _ = client.CloseWrite() }()
	got, err := io.ReadAll(server)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// The other direction still works after the first has ended.
	_, _ = server.Write([]byte("answer"))
	server.Close()
	if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	<-done
}

func TestRelayPassesResets(t *testing.T) {
	client, host := pair(t)
	inside, server := pair(t)
	done := make(chan bool)
	go func() { (&relay{host, inside}).run(); close(done) }()
	_ = server.SetLinger(0)
	server.Close()
	<-done
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
}
