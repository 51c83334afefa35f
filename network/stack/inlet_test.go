package stack

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A client of a published port is a flow of its own; the container answers it by
// the socket that the client wrote to, and a stopped inlet frees the port.
func TestInletShowsTheClientAndAnswers(t *testing.T) {
	p := newPeer(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 9}}); err != nil {
		t.Fatal(err)
	}
	sa, _ := unix.Getsockname(fd)
	port := sa.(*unix.SockaddrInet4).Port
	stop, err := p.s.Datagrams(fd, []netip.Addr{boxAddr}, 53)
	if err != nil {
		t.Fatal(err)
	}
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9), Port: port}
	client, err := net.DialUDP("udp4", nil, at)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, _ = client.Write([]byte("question"))
	got, ok := p.read(protoUDP, time.Second)
	if !ok || string(got.body[udpLen:]) != "question" {
		t.Fatalf("the container got %q", got.body)
	}
	// The host's loopback would be the container's own: the gateway stands for it.
	if from := uint16(got.body[0])<<8 | uint16(got.body[1]); got.src != gateway || int(from) != client.LocalAddr().(*net.UDPAddr).Port {
		t.Errorf("it came from %s port %d", got.src, from)
	}
	p.port = 53
	p.datagram(netip.AddrPortFrom(gateway, uint16(client.LocalAddr().(*net.UDPAddr).Port)), []byte("answer"))
	answer := make([]byte, 100)
	_ = client.SetReadDeadline(time.Now().Add(time.Second))
	if n, err := client.Read(answer); err != nil || string(answer[:n]) != "answer" {
		t.Errorf("the client got %q, %v", answer[:n], err)
	}
	stop()
	again, err := net.ListenUDP("udp4", at)
	if err != nil {
		t.Fatalf("after stop: %v", err)
	}
	again.Close()
}
