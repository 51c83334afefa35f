package stack

import (
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inlet brings datagrams from a bound host socket to a port of the container:
// a published port. Each client is a flow of its own, under its own address;
// what the container answers goes out by the same socket.
type inlet struct {
	s    *Stack
	fd   int
	to   []netip.Addr // the container's addresses
	port uint16
}

// backway is where an answer goes: to the client, from the address of the host that
// the client had written to. A host may have several.
type backway struct {
	to      unix.RawSockaddrInet6 // or an Inet4 in the same place
	toLen   uint32
	info    [64]byte // control message with the packet info
	infoLen int
}

// Datagrams brings what arrives at fd, a bound UDP socket, to port of the
// container with the given addresses, at most one per family. It owns fd from
// here on; when stop returns, it is closed.
func (s *Stack) Datagrams(fd int, to []netip.Addr, port uint16) (stop func(), err error) {
	_ = unix.SetNonblock(fd, true)
	sa, err := unix.Getsockname(fd)
	if err == nil {
		if _, four := sa.(*unix.SockaddrInet4); four {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	in := &inlet{s: s, fd: fd, to: to, port: port}
	s.do(func() {
		if s.stop || s.watch(fd, in, unix.EPOLLIN) != nil {
			unix.Close(fd)
			return
		}
		s.inlets = append(s.inlets, in)
	})
	return in.stop, nil
}

// stop closes the inlet and waits for that.
func (in *inlet) stop() {
	closed := make(chan struct{})
	in.s.do(func() {
		defer close(closed)
		if i := slices.Index(in.s.inlets, in); i >= 0 {
			in.s.inlets = slices.Delete(in.s.inlets, i, i+1)
			in.s.forget(in.fd)
		}
	})
	select {
	case <-closed:
	case <-in.s.done:
	}
}

// ready takes datagrams from clients.
func (in *inlet) ready(uint32) {
	for range datagramsPerTurn {
		var r backway
		n, errno := in.recv(&r)
		if errno == unix.EAGAIN {
			return
		}
		if errno != 0 {
			continue // an ICMP error about an earlier answer
		}
		in.deliver(in.s.in[:n], &r)
	}
}

// deliver sends one datagram to the container in the client's name.
func (in *inlet) deliver(data []byte, r *backway) {
	client, ok := r.client()
	if !ok {
		return
	}
	local, ok := in.local(client.Addr())
	if !ok {
		return
	}
	k := key{in.s.appear(client.Addr(), local), local, client.Port(), in.port}
	f := in.s.flows.find(k)
	if f != nil && (f.inlet != in || f.back.to != r.to) {
		f.close() // the same port was somebody else's, who has not been heard since
		f = nil
	}
	if f == nil {
		if f = in.s.flows.add(k, local, -1); f == nil {
			return
		}
		f.inlet = in
	}
	f.back = *r
	in.s.datagram(k, local, data)
}

// local is the container's address of a client's family.
func (in *inlet) local(client netip.Addr) (netip.Addr, bool) {
	for _, a := range in.to {
		if a.Is4() == client.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// appear is the address under which the container sees a client. One of the
// host's loopback would be the container itself: the gateway stands for it.
func (s *Stack) appear(client, local netip.Addr) netip.Addr {
	if client.IsLoopback() || client.IsLinkLocalUnicast() || client == local {
		return s.standIn(local)
	}
	return client
}

// standIn is the address that stands for the host. A router's gateways are the
// router's own, so there it is one that belongs to nobody.
func (s *Stack) standIn(local netip.Addr) netip.Addr {
	switch {
	case !s.cfg.Router:
		return s.gateway(local)
	case local.Is4():
		return RouterHost4
	}
	return RouterHost6
}

// RouterHost4 and RouterHost6 stand for the host where a router is in between: the
// dummy address of RFC 7600, and one of a local network that nobody has.
var (
	RouterHost4 = netip.AddrFrom4([4]byte{192, 0, 0, 8})
	RouterHost6 = netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x62, 2: 0x72, 3: 0x79, 4: 0x6f, 15: 0x08})
)

func (in *inlet) recv(r *backway) (int, unix.Errno) {
	b := &in.s.in
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	msg := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&r.to)), Namelen: uint32(unsafe.Sizeof(r.to)), Iov: &iov, Control: &r.info[0]}
	msg.SetIovlen(1)
	msg.SetControllen(len(r.info))
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(in.fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	r.toLen, r.infoLen = msg.Namelen, int(msg.Controllen)
	r.source()
	return int(n), 0
}

// source turns the packet info of what came in into that of an answer: from the
// address that was written to, by whatever way the host's routes say.
func (r *backway) source() {
	if r.infoLen < unix.SizeofCmsghdr {
		return
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&r.info[0]))
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
		p := (*unix.Inet4Pktinfo)(unsafe.Pointer(&r.info[unix.CmsgLen(0)]))
		p.Ifindex = 0
		p.Spec_dst = p.Addr
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
		p := (*unix.Inet6Pktinfo)(unsafe.Pointer(&r.info[unix.CmsgLen(0)]))
		if !netip.AddrFrom16(p.Addr).IsLinkLocalUnicast() {
			p.Ifindex = 0
		}
	}
}

func (r *backway) client() (netip.AddrPort, bool) {
	switch r.to.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.to))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), hostOrder(sa.Port)), true
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(r.to.Addr), hostOrder(r.to.Port)), true
	}
	return netip.AddrPort{}, false
}

// hostOrder of a port that the kernel has in network order.
func hostOrder(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// send answers a client. What its host does not take is lost, as on any network.
func (in *inlet) send(data []byte, r *backway) {
	iov := unix.Iovec{Base: unsafe.SliceData(data)}
	iov.SetLen(len(data))
	msg := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&r.to)), Namelen: r.toLen, Iov: &iov}
	msg.SetIovlen(1)
	if r.infoLen > 0 {
		msg.Control = &r.info[0]
		msg.SetControllen(r.infoLen)
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(in.fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}
