package bypass

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Port is a published port.
type Port struct {
	Protocol  int // unix.IPPROTO_TCP or IPPROTO_UDP
	Container uint16
	Host      netip.AddrPort
	// Reserved is a socket of the host that is bound to Host, see Reserve. The
	// handler owns it.
	Reserved int
}

// Reserve binds a published port on the host before the container runs, so that
// a port in use is known before it starts. The TCP socket never listens: it keeps
// the number while the program in the container binds sockets of its own to it,
// which SO_REUSEADDR allows. The UDP socket is given to the program.
func (p *Port) Reserve() error {
	domain := unix.AF_INET
	if p.Host.Addr().Is6() {
		domain = unix.AF_INET6
	}
	kind, name := unix.SOCK_STREAM, "tcp"
	if p.Protocol == unix.IPPROTO_UDP {
		kind, name = unix.SOCK_DGRAM, "udp"
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if p.Protocol == unix.IPPROTO_TCP {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if domain == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err := bind(fd, address{family: uint16(domain), to: p.Host}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("publish %s/%s: %w", p.Host, name, err)
	}
	p.Host = netip.AddrPortFrom(p.Host.Addr(), boundPort(fd))
	p.Reserved = fd
	return nil
}

// bind carries bind(2) out: published ports on the host, all else inside.
func (h *Handler) bind(p *pending) {
	s, err := h.socketOf(p, p.Args[0])
	if err != nil {
		p.fail(err)
		return
	}
	defer s.close()
	if !s.inet() {
		h.foreign(p, s)
		return
	}
	a, err := p.address(p.Args[1], p.Args[2])
	if err != nil {
		p.fail(err)
		return
	}
	if !s.host {
		p.end(bind(s.fd, a))
		return
	}
	addr, port := a.to.Addr().Unmap(), a.to.Port()
	if addr.IsUnspecified() && port == 0 {
		// The next free port, of a client most likely. A server that listens on it
		// moves inside then.
		p.end(bind(s.fd, a))
		return
	}
	if n := h.published(s, addr, port); n >= 0 {
		p.end(h.bindPublished(p, s, a, n))
		return
	}
	if err := h.toInside(p, s); err != nil {
		p.fail(err)
		return
	}
	for n, port := range h.cfg.Ports {
		if s.tcp() && port.Container == a.to.Port() {
			h.live[n] = false // whoever serves it now is inside
		}
	}
	p.end(bind(s.fd, a))
}

// published finds the port on the host for what a program binds; -1: none. On its
// loopback a program is not meant to be reached from outside.
func (h *Handler) published(s *socket, addr netip.Addr, port uint16) int {
	if addr.IsLoopback() || port == 0 {
		return -1
	}
	found := -1
	for n, p := range h.cfg.Ports {
		if p.Protocol != s.protocol || p.Container != port {
			continue
		}
		if s.domain == unix.AF_INET6 && p.Host.Addr().Is6() {
			return n // serves IPv4 too, where the program asks for both
		}
		if s.domain == unix.AF_INET && p.Host.Addr().Is4() || s.domain == unix.AF_INET6 && found < 0 {
			found = n
		}
	}
	return found
}

// bindPublished binds the caller's socket to the port's place on the host.
func (h *Handler) bindPublished(p *pending, s *socket, a address, n int) error {
	port := h.cfg.Ports[n]
	if s.udp() {
		if err := drainSocket(port.Reserved); err != nil {
			return err
		}
		if err := h.exchange(p, s, port.Reserved); err != nil {
			return err
		}
		h.live[n] = true
		return nil
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := bind(s.fd, a.towards(port.Host)); err != nil {
		return err
	}
	h.live[n] = true
	return nil
}

// drainSocket forgets what came for a program that is gone.
func drainSocket(fd int) error {
	var b [1]byte
	for {
		switch _, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC); err {
		case nil, unix.EINTR, unix.ECONNREFUSED:
		case unix.EAGAIN:
			return nil
		default:
			return err
		}
	}
}

// listen carries listen(2) out: a socket of the host listens on published ports
// only.
func (h *Handler) listen(p *pending) {
	s, err := h.socketOf(p, p.Args[0])
	if err != nil {
		p.fail(err)
		return
	}
	defer s.close()
	if !s.inet() {
		h.foreign(p, s)
		return
	}
	if s.host && h.containerPort(s) == 0 {
		if err := h.moveInside(p, s); err != nil {
			p.fail(err)
			return
		}
	}
	p.end(unix.Listen(s.fd, int(int32(p.Args[1]))))
}

// moveInside takes the port along that the kernel chose on the host.
func (h *Handler) moveInside(p *pending, s *socket) error {
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return err
	}
	if err := h.toInside(p, s); err != nil {
		return err
	}
	if end := endOf(name); end.Port() != 0 {
		return bind(s.fd, address{family: uint16(s.domain), to: end})
	}
	return nil
}

// containerPort is the container's number of the published port that a socket of
// the host is bound to; 0: none.
func (h *Handler) containerPort(s *socket) uint16 {
	if !s.host || len(h.cfg.Ports) == 0 {
		return 0
	}
	port := boundPort(s.fd)
	for n, p := range h.cfg.Ports {
		if h.live[n] && p.Protocol == s.protocol && p.Host.Port() == port && port != 0 {
			return p.Container
		}
	}
	return 0
}

// publishedAt is where on the host a published port of the container itself is
// served, for its own programs.
func (h *Handler) publishedAt(addr netip.Addr, port uint16) (netip.AddrPort, bool) {
	for n, p := range h.cfg.Ports {
		if !h.live[n] || p.Protocol != unix.IPPROTO_TCP || p.Container != port || p.Host.Addr().Is4() != addr.Is4() {
			continue
		}
		to := p.Host.Addr()
		if to.IsUnspecified() {
			to = loopbackOf(to)
		}
		return netip.AddrPortFrom(to, p.Host.Port()), true
	}
	return netip.AddrPortFrom(addr, port), false
}
