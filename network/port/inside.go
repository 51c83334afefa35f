package port

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bryo/network/rtnl"
)

// inside makes sockets in the container's network namespace. They carry the
// client's address, which is not the namespace's own (IP_TRANSPARENT), and talk
// to the container's over its loopback. The answers go to that foreign address
// and would leave by the default route; so the sockets carry a mark, the
// container's ends inherit it (tcp_fwmark_accept, fwmark_reflect), and what has
// the mark is routed to the loopback.
type inside struct {
	target Target
	wanted chan request
	quit   chan struct{}
}

// request asks for a socket of an address family.
type request struct {
	domain int
	answer chan made
}

// made is a new socket, not connected.
type made struct {
	fd  int
	err error
}

const (
	// mark and table are names within the container's network namespace alone:
	// "bryo" in ASCII, so that nobody else's are hit by chance.
	mark  = 0x6272796f
	table = 0x6272796f
	// priority of the rule: after the table of local addresses, before all others.
	priority = 100

	connectTime = 10 * time.Second
)

// openInside prepares the namespace and starts the thread that makes sockets in
// it: a thread belongs to one network namespace at a time.
func openInside(t Target) (*inside, error) {
	in := &inside{target: t, wanted: make(chan request), quit: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		err := t.Enter(func() error {
			if err := prepare(); err != nil {
				return err
			}
			ready <- nil
			return in.serve()
		})
		select {
		case ready <- err: // it did not get that far
		default:
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return in, nil
}

func (in *inside) close() { close(in.quit) }

// prepare lets answers to foreign addresses find their way back.
func prepare() error {
	for path, need := range map[string]bool{
		"/proc/sys/net/ipv4/tcp_fwmark_accept": true, "/proc/sys/net/ipv4/fwmark_reflect": true,
		"/proc/sys/net/ipv6/fwmark_reflect": false,
	} {
		if err := os.WriteFile(path, []byte("1"), 0); err != nil && need {
			return fmt.Errorf("prepare network namespace: %w", err)
		}
	}
	return rtnl.Submit(
		rtnl.MarkRule(unix.AF_INET, mark, table, priority), rtnl.LocalDefault(unix.AF_INET, table),
		rtnl.MarkRule(unix.AF_INET6, mark, table, priority).Soft(), rtnl.LocalDefault(unix.AF_INET6, table).Soft(),
	)
}

// serve is the thread's work: one TCP socket for each request, 4 or 6.
func (in *inside) serve() error {
	for {
		select {
		case r := <-in.wanted:
			fd, err := unix.Socket(r.domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			r.answer <- made{fd, err}
		case <-in.quit:
			return nil
		}
	}
}

// socket asks the thread for one.
func (in *inside) socket(domain int) (int, error) {
	r := request{domain, make(chan made, 1)}
	select {
	case in.wanted <- r:
	case <-in.quit:
		return -1, net.ErrClosed
	}
	m := <-r.answer
	if m.err != nil {
		return -1, os.NewSyscallError("socket", m.err)
	}
	return m.fd, nil
}

// dial connects to a port of the container in the name of a client. Where the
// program listens on IPv4 only, a client that came over IPv6 has the gateway's
// address: there is no better one.
func (in *inside) dial(client *net.TCPConn, port uint16) (*net.TCPConn, error) {
	from := remote(client)
	var c *net.TCPConn
	err := error(unix.EADDRNOTAVAIL) // the container has no address that would do
	for _, six := range []bool{from.Addr().Is6(), false} {
		to, gateway, ok := in.target.address(six)
		if !ok {
			continue
		}
		c, err = in.dialFrom(appear(from, to, gateway), netip.AddrPortFrom(to, port))
		if err == nil || !from.Addr().Is6() {
			break
		}
	}
	return c, err
}

// address is the container's and its gateway's of a family.
func (t *Target) address(six bool) (own, gateway netip.Addr, ok bool) {
	for i, a := range t.Addresses {
		if a.Is6() == six {
			return a, t.Gateways[i], true
		}
	}
	return own, gateway, false
}

// appear is who the container sees: the client, but for those that would be
// somebody else inside. A loopback address would be the container itself.
func appear(from netip.AddrPort, own, gateway netip.Addr) netip.AddrPort {
	a := from.Addr()
	if a.Is6() != own.Is6() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a == own || a.Zone() != "" {
		return netip.AddrPortFrom(gateway, from.Port())
	}
	return from
}

func (in *inside) dialFrom(from, to netip.AddrPort) (*net.TCPConn, error) {
	c, err := in.attempt(from, to)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) {
		// The same client came from the same port by another published one.
		return in.attempt(netip.AddrPortFrom(from.Addr(), 0), to)
	}
	return c, err
}

func (in *inside) attempt(from, to netip.AddrPort) (*net.TCPConn, error) {
	domain := unix.AF_INET
	if to.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := in.socket(domain)
	if err != nil {
		return nil, err
	}
	if err = disguise(fd, domain, from); err == nil {
		err = unix.Connect(fd, sockaddr(to))
	}
	// Not before it connects: a poller sees a socket that does not as hung up.
	f := os.NewFile(uintptr(fd), "inside")
	defer f.Close()
	if err == unix.EINPROGRESS {
		err = connected(f)
	}
	if err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// disguise gives a socket a foreign address and the mark.
func disguise(fd, domain int, from netip.AddrPort) error {
	level, transparent := unix.IPPROTO_IP, unix.IP_TRANSPARENT
	if domain == unix.AF_INET6 {
		level, transparent = unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT
	}
	for _, o := range [][3]int{
		{level, transparent, 1}, {unix.SOL_SOCKET, unix.SO_MARK, mark}, {unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
	} {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return unix.Bind(fd, sockaddr(from))
}

// connected waits for the answer to a connect.
func connected(f *os.File) error {
	_ = f.SetWriteDeadline(time.Now().Add(connectTime))
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var answer error
	err = raw.Write(func(fd uintptr) bool {
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || n != 0 {
			answer = cmp.Or[error](err, unix.Errno(n))
			return true
		}
		_, err := unix.Getpeername(int(fd))
		return err != unix.ENOTCONN // still on its way: wait until it can be written to
	})
	if err != nil {
		return err
	}
	return answer
}
