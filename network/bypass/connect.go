package bypass

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// route says where a destination is. outside: on the host's side, at the address
// returned; otherwise in the container's namespace, at the address as it was.
func (h *Handler) route(s *socket, a address) (to netip.AddrPort, outside bool) {
	const dns = 53 // the gateway's own
	addr, port := a.to.Addr().Unmap(), a.to.Port()
	// By UDP the answers of the host's loopback would come from another address.
	if slices.Contains(h.cfg.Gateways, addr) && s.tcp() && port != dns {
		return netip.AddrPortFrom(loopbackOf(addr), port), true
	}
	if h.wall.own(addr) {
		if s.tcp() {
			return h.publishedAt(addr, port)
		}
		return a.to, false
	}
	if slices.Contains(h.cfg.Gateways, addr) || a.scope != 0 || h.wall.holds(addr) || !h.cfg.Allows(addr) {
		return a.to, false
	}
	return a.to, true
}

func loopbackOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// connect carries connect(2) out.
func (h *Handler) connect(p *pending, s *socket) {
	a, err := p.address(p.Args[1], p.Args[2])
	if err != nil {
		p.fail(err)
		return
	}
	if a.family == unix.AF_UNSPEC { // takes the other end away
		p.end(connect(s.fd, address{family: unix.AF_UNSPEC}))
		return
	}
	if s.domain == unix.AF_INET && a.family != unix.AF_INET {
		p.fail(unix.EAFNOSUPPORT)
		return
	}
	to, outside := h.route(s, a)
	if s.host && !outside {
		if err := h.toInside(p, s); err != nil {
			p.fail(err)
			return
		}
	}
	if !s.host {
		to = a.to
	}
	h.dial(p, s, a.towards(to))
}

// dial connects the handler's descriptor. A caller that blocks waits for us, not
// we for him: the socket is non-blocking for the moment of the call.
func (h *Handler) dial(p *pending, s *socket, a address) {
	flags, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0)
	if err != nil {
		p.fail(err)
		return
	}
	if !s.tcp() || flags&unix.O_NONBLOCK != 0 {
		p.end(connect(s.fd, a))
		return
	}
	_, _ = unix.FcntlInt(uintptr(s.fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
	err = connect(s.fd, a)
	_, _ = unix.FcntlInt(uintptr(s.fd), unix.F_SETFL, flags)
	if err != unix.EINPROGRESS && err != unix.EALREADY {
		p.end(err)
		return
	}
	h.waitFor(p, s, unix.EPOLLOUT, sendTimeout(s.fd), unix.EINPROGRESS, func(w *wait) bool {
		// Not blocking: the connection is there, or the reason why not.
		err := connect(s.fd, a)
		if err == unix.EALREADY || err == unix.EINPROGRESS {
			return false
		}
		if err == unix.EISCONN {
			err = nil
		}
		w.call.end(err)
		return true
	})
}
