package port

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// through brings connections in by the container's user-mode stack.
type through struct{ target Target }

func (t *through) connect(client *net.TCPConn, port uint16) {
	defer client.Close()
	from := remote(client)
	own, gateway, ok := t.target.address(from.Addr().Is6())
	fd := -1
	if ok {
		fd = duplicateOf(client)
	}
	if fd < 0 {
		_ = client.SetLinger(0)
		return
	}
	t.target.Inbound(fd, appear(from, own, gateway), port)
}

// remote is who is at the other end.
func remote(c *net.TCPConn) netip.AddrPort {
	a := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// duplicateOf is the socket of a connection, apart from Go's poller; -1 without a
// free descriptor.
func duplicateOf(c *net.TCPConn) (fd int) {
	fd = -1
	raw, err := c.SyscallConn()
	if err != nil {
		return fd
	}
	_ = raw.Control(func(s uintptr) {
		if n, err := unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 3); err == nil {
			fd = n
		}
	})
	return fd
}
