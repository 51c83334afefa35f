package stack

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPanicEndsTheStackOnly: a bug that a container's packet finds ends its network,
// which the supervisor is told, and nothing else; all descriptors are closed.
func TestPanicEndsTheStackOnly(t *testing.T) {
	s, fd := bareStack(t)
	s.destination = func(netip.Addr, netip.Addr) (netip.Addr, bool) { panic("found by a packet") }
	if err := s.watch(s.dev.fd, &inbound{s, 1}, unix.EPOLLIN); err != nil {
		t.Fatal(err)
	}
	go s.run()
	p := &peer{t: t, s: s, fd: fd, port: 40000, seq: 1000, wnd: 64240, to: netip.AddrPortFrom(elsewhere, 80)}
	p.datagram(p.to, []byte("boom"))
	select {
	case <-s.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the stack goes on")
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "found by a packet") {
		t.Errorf("ended with %v", err)
	}
	if _, err := unix.Write(fd, []byte{0}); err != unix.ECONNREFUSED && err != unix.EPIPE {
		t.Errorf("the device is open still: %v", err)
	}
	if err := s.Close(); err == nil {
		t.Error("closing forgets why it ended")
	}
}
