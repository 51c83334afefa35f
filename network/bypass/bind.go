package bypass

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Port is a published TCP port.
type Port struct {
	Container uint16
	Host      netip.AddrPort
	// Reserved is a socket of the host that is bound to Host and never listens. It
	// keeps the number while programs in the container bind sockets of their own to
	// it, which SO_REUSEADDR allows. The handler owns it.
	Reserved int
}

// bind carries bind(2) out: published ports on the host, all else inside.
func (h *Handler) bind(p *pending, s *socket) {
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
		p.end(h.bindPublished(s, a, n))
		return
	}
	if err := h.toInside(p, s); err != nil {
		p.fail(err)
		return
	}
	// Whoever serves it now is inside; a server for the other family stays.
	h.mark(s, func(p Port) bool { return p.Container == port && p.Host.Addr().Is4() == addr.Is4() }, false)
	p.end(bind(s.fd, a))
}

// published finds the port on the host for what a program binds; -1: none. On its
// loopback a program is not meant to be reached from outside. Published UDP ports
// are served inside: an answer to a client on the host's loopback would be a
// datagram to there, which nobody may send from here.
func (h *Handler) published(s *socket, addr netip.Addr, port uint16) int {
	if !s.tcp() || addr.IsLoopback() || port == 0 {
		return -1
	}
	found, four := -1, s.domain == unix.AF_INET || s.both()
	for n, p := range h.cfg.Ports {
		switch is4 := p.Host.Addr().Is4(); {
		case p.Container != port, is4 && !four, !is4 && s.domain == unix.AF_INET:
		case !is4:
			return n // serves IPv4 too, where the program asks for both
		case found < 0:
			found = n
		}
	}
	return found
}

// bindPublished binds the caller's socket to the port's place on the host.
func (h *Handler) bindPublished(s *socket, a address, n int) error {
	at := h.cfg.Ports[n].Host
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := bind(s.fd, a.towards(at)); err != nil {
		return err
	}
	both := at.Addr() == netip.IPv6Unspecified() && s.both()
	h.mark(s, func(p Port) bool {
		return p.Host == at || both && p.Host.Port() == at.Port() && p.Host.Addr() == netip.IPv4Unspecified()
	}, true)
	return nil
}

// mark notes which ports are served on the host.
func (h *Handler) mark(s *socket, which func(Port) bool, live bool) {
	for n, p := range h.cfg.Ports {
		if s.tcp() && which(p) {
			h.live[n] = live
		}
	}
}

// listen carries listen(2) out: a socket of the host listens on published ports
// only.
func (h *Handler) listen(p *pending, s *socket) {
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
	if !s.host || !s.tcp() || len(h.cfg.Ports) == 0 {
		return 0
	}
	port := boundPort(s.fd)
	for n, p := range h.cfg.Ports {
		if h.live[n] && p.Host.Port() == port && port != 0 {
			return p.Container
		}
	}
	return 0
}

// publishedAt is where on the host a published port of the container itself is
// served, for its own programs.
func (h *Handler) publishedAt(addr netip.Addr, port uint16) (netip.AddrPort, bool) {
	for n, p := range h.cfg.Ports {
		if !h.live[n] || p.Container != port || p.Host.Addr().Is4() != addr.Is4() {
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
