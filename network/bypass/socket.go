package bypass

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// socket is the handler's own descriptor of a socket in the container.
type socket struct {
	fd                     int
	number                 int // in the caller
	domain, kind, protocol int
	host                   bool // of the host's namespace
}

func (s *socket) inet() bool { return s.domain == unix.AF_INET || s.domain == unix.AF_INET6 }
func (s *socket) tcp() bool {
	return s.inet() && s.kind == unix.SOCK_STREAM && s.protocol == unix.IPPROTO_TCP
}
func (s *socket) udp() bool {
	return s.inet() && s.kind == unix.SOCK_DGRAM && s.protocol == unix.IPPROTO_UDP
}
func (s *socket) close() { unix.Close(s.fd) }

// judged: where the call leads is decided here. Messages on a stream lead where it
// is connected to.
func (s *socket) judged(nr int) bool {
	if nr == unix.SYS_SENDMSG || nr == unix.SYS_SENDMMSG {
		return s.udp()
	}
	return s.inet()
}

// both: an IPv6 socket that takes IPv4 too.
func (s *socket) both() bool {
	only, _ := unix.GetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	return s.domain == unix.AF_INET6 && only == 0
}

// socketOf takes the caller's descriptor, which must be a socket. Without an error
// the caller of this closes it.
func (h *Handler) socketOf(p *pending, number uint64) (*socket, error) {
	fd, err := p.descriptor(number)
	if err != nil {
		return nil, err
	}
	s := &socket{fd: fd, number: int(int32(number))}
	if s.domain, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
		s.close()
		return nil, err // ENOTSOCK, for what is no socket
	}
	s.kind, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	s.protocol, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	s.host = s.inet() && !h.isInside(fd)
	if err := p.valid(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// isInside: the socket belongs to the container's network namespace. In doubt it
// does not, and its calls are judged.
func (h *Handler) isInside(fd int) bool {
	if h.cookie != 0 {
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err == nil && cookie == h.cookie
	}
	// Before kernel 5.14: only of our own namespaces' sockets do we get to see the
	// namespace (CAP_NET_ADMIN). A container cannot make one.
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return false
	}
	unix.Close(ns)
	return true
}

// typeFlags are what socket(2) takes beside the type.
const typeFlags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC

// socket gives the caller a socket of the host. The filter asks for TCP and UDP
// only; what else may hide behind those types is the container's own affair.
func (h *Handler) socket(p *pending) {
	domain, kind, protocol := int(int32(p.Args[0])), int(int32(p.Args[1])), int(int32(p.Args[2]))
	switch {
	case protocol == unix.IPPROTO_MPTCP:
		// Its further paths would be the kernel's choice. Go and others fall back.
		p.fail(unix.EPROTONOSUPPORT)
		return
	case !switched(kind&^typeFlags, protocol):
		// Judged by registers alone, and what the kernel makes is of the namespace.
		_ = p.from.Continue(p.ID)
		return
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		p.fail(err)
		return
	}
	defer unix.Close(fd)
	h.put(p, fd, kind&unix.SOCK_CLOEXEC != 0)
}

func switched(kind, protocol int) bool {
	switch kind {
	case unix.SOCK_STREAM:
		return protocol == 0 || protocol == unix.IPPROTO_TCP
	case unix.SOCK_DGRAM:
		return protocol == 0 || protocol == unix.IPPROTO_UDP
	}
	return false
}

// put ends the call with a new descriptor.
func (h *Handler) put(p *pending, fd int, cloexec bool) {
	_, err := p.from.AddFD(p.ID, fd, -1, cloexec, true)
	if isErrno(err, unix.EINVAL) { // before kernel 5.14: in two steps
		var number int
		if number, err = p.from.AddFD(p.ID, fd, -1, cloexec, false); err == nil {
			p.finish(int64(number), 0)
			return
		}
	}
	if err != nil {
		p.fail(err)
	}
}

// boundPort is the port that a socket has; 0 without one.
func boundPort(fd int) uint16 {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	return endOf(name).Port()
}

func endOf(name unix.Sockaddr) netip.AddrPort {
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// getsockname tells the container's number of a published port.
func (h *Handler) getsockname(p *pending, s *socket) {
	port := h.containerPort(s)
	if port == 0 {
		_ = p.from.Continue(p.ID) // it reads; nothing was judged
		return
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		p.fail(err)
		return
	}
	end := endOf(name)
	a := address{family: uint16(s.domain), to: netip.AddrPortFrom(end.Addr(), port)}
	p.end(p.putAddress(p.Args[1], p.Args[2], a.bytes()))
}

// putAddress fills in the two results of getsockname(2).
func (p *pending) putAddress(at, lengthAt uint64, b []byte) error {
	room, err := p.read(lengthAt, 4)
	if err != nil {
		return err
	}
	n := int(int32(binary.NativeEndian.Uint32(room)))
	if n < 0 {
		return unix.EINVAL
	}
	if err := p.write(at, b[:min(n, len(b))]); err != nil {
		return err
	}
	return p.writeInt(lengthAt, uint32(len(b)))
}
