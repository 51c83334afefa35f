package stack

import (
	"encoding/binary"
	"net/netip"

	"bryo/network/rtnl"

	"golang.org/x/sys/unix"
)

// key names a connection.
type key struct {
	remote       netip.Addr // as the container sees it
	local        netip.Addr // the container's own address
	rport, cport uint16     // remote's port, container's port
}

type state uint8

const (
	dialing     state = iota // the host socket connects; the container waits for its SYN's answer
	synSent                  // an inbound connection: we sent a SYN to the container
	synReceived              // we sent a SYN-ACK to the container
	established
	closed
)

// A conn joins a TCP connection of the container to a host socket. Towards
// the container it is a TCP endpoint; the names of its sequence variables are
// those of RFC 9293.
//
// Bytes from the container go straight from the packet to the host socket;
// only what that does not take is kept (backlog). Bytes from the host are
// read only when the container has room for them, and kept until it
// acknowledged them (flight).
type conn struct {
	s     *Stack
	key   key
	local netip.Addr
	fd    int
	state state
	mss   uint16
	scale uint8 // of the windows that the container announces

	// To the container. una <= nxt <= max; flight holds the bytes from una.
	iss, una, nxt, max uint32
	wnd                uint32
	flight             buffer
	finSent            bool   // max includes our FIN
	dups               int    // duplicate acknowledgements in a row
	recover            uint32 // do not go back again before una passes this

	// From the container: rcv is the next byte expected, edge what was
	// announced as the end of the window.
	rcv, edge uint32
	backlog   buffer
	fin       bool // rcv includes the container's FIN
	ackDue    bool
	ackAt     instant // when an acknowledgement that waits for data goes; 0: none does
	talked    bool    // we sent data since the container last did
	shut      bool    // the host socket's sending side is shut down

	// The host socket, as edge-triggered epoll told and reads confirmed.
	readable, hup, eof bool

	retries int
	rto     instant // when to retransmit or probe; 0: nothing to wait for
	heard   instant // last packet from the container
	timer   timer
	waiting node // in Stack.dialing
	queued  bool // in loop.again
}

// ourScale is the shift of the windows that we announce: enough for
// maxBacklog in 16 bits.
const ourScale = 5

// tcpHeader is what matters of a segment's header.
type tcpHeader struct {
	sport, dport uint16
	seq, ack     uint32
	flags        byte
	window       uint16
	options      []byte
	data         []byte
}

const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagPSH = 8
	flagACK = 16
)

func parseTCP(b []byte) (h tcpHeader, ok bool) {
	if len(b) < tcpLen {
		return h, false
	}
	size := int(b[12]>>4) * 4
	if size < tcpLen || size > len(b) {
		return h, false
	}
	h.sport, h.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	h.seq, h.ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	h.flags, h.window = b[13], binary.BigEndian.Uint16(b[14:])
	h.options, h.data = b[tcpLen:size], b[size:]
	return h, true
}

// synOptions reads the maximum segment size and window scale of a SYN; scale
// is -1 when there is none.
func synOptions(b []byte) (mss, scale int) {
	scale = -1
	for len(b) > 0 {
		switch {
		case b[0] == 0:
			return
		case b[0] == 1:
			b = b[1:]
			continue
		case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b):
			return
		case b[0] == 2 && b[1] == 4:
			mss = int(binary.BigEndian.Uint16(b[2:]))
		case b[0] == 3 && b[1] == 3:
			scale = min(int(b[2]), 14)
		}
		b = b[b[1]:]
	}
	return
}

// after compares sequence numbers, modulo 2^32.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// tcp handles a TCP packet from the container.
func (s *Stack) tcp(p *packet) {
	h, ok := parseTCP(p.body)
	if !ok || p.fragment {
		return
	}
	k := key{p.dst, p.src, h.dport, h.sport}
	c := s.conns[k]
	switch {
	case c != nil:
		c.heard = s.now
		c.segment(p, &h)
	case h.flags&(flagSYN|flagACK|flagRST) == flagSYN:
		s.accept(p, k, &h)
	case h.flags&flagRST == 0:
		s.reset(p, &h)
	}
}

// accept begins to dial where a SYN wants to go. The container gets its
// answer when the host has got one, so that refused means refused.
func (s *Stack) accept(p *packet, k key, h *tcpHeader) {
	to, ok := s.route(p.dst, p.src, h.dport)
	if !ok {
		s.reset(p, h)
		return
	}
	if len(s.conns) >= maxConns {
		return
	}
	if s.dialing.size >= maxDialing {
		s.dialing.first().close()
	}
	c := &conn{s: s, key: k, local: p.src, fd: -1, state: dialing, heard: s.now}
	c.timer.owner, c.waiting.conn = c, c
	c.synchronize(h)
	switch errno := c.dial(to); errno {
	case 0: // a destination on this host, or nearby
		s.conns[k] = c
		c.connected(unix.EPOLLOUT)
		c.attend() // the container has its answer meanwhile
	case unix.EALREADY:
		s.conns[k] = c
		s.dialing.push(&c.waiting)
		c.attend()
	case unix.EADDRNOTAVAIL:
		c.rejected(unnumbered(to))
	default:
		c.rejected(errno)
	}
}

// unnumbered tells why no address was to be had for a connection: the host has none
// of that family (IPv6 is turned off), which is known at once, or all ports to that
// destination are taken, in TIME_WAIT, which passes. A datagram has other ports.
func unnumbered(to netip.AddrPort) unix.Errno {
	fd, errno := datagramSocket(to, 0)
	switch errno {
	case 0:
		unix.Close(fd)
	case unix.EADDRNOTAVAIL:
		return unix.ENETUNREACH
	}
	return unix.EADDRNOTAVAIL
}

// route finds where a connection to port of a goes; from is the container's
// own address.
func (s *Stack) route(a, from netip.Addr, port uint16) (netip.AddrPort, bool) {
	gateway := s.gateway(from)
	if a == gateway && port == dnsPort {
		return s.dns.current(), true
	}
	to, ok := s.destination(a, s.standIn(from))
	if s.port != 0 {
		port = s.port
	}
	return netip.AddrPortFrom(to, port), ok && port != 0
}

// synchronize takes what a SYN says about the container's side.
func (c *conn) synchronize(h *tcpHeader) {
	mss, scale := synOptions(h.options)
	c.mss = uint16(min(max(mss, 536), c.s.mss(c.local)))
	c.scale = noScale
	if scale >= 0 {
		c.scale = uint8(scale)
	}
	c.wnd = uint32(h.window)
	c.rcv = h.seq + 1
	c.edge = c.rcv
}

// noScale is conn.scale of a peer without window scaling: our own windows are
// then not scaled either.
const noScale = 0xff

func (s *Stack) mss(local netip.Addr) int {
	if local.Is4() {
		return s.cfg.MTU - ip4Len - tcpLen
	}
	return s.cfg.MTU - ip6Len - tcpLen
}

// dial starts to connect the host socket; EALREADY: it takes its time. A
// destination on this host is connected when connect(2) returns, although that
// says EINPROGRESS: asking again is cheaper than a turn of the loop.
func (c *conn) dial(to netip.AddrPort) unix.Errno {
	domain := unix.AF_INET6
	if to.Addr().Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.(unix.Errno)
	}
	sa := sockaddr(to)
	errno, _ := unix.Connect(fd, sa).(unix.Errno)
	if errno == unix.EINPROGRESS {
		errno, _ = unix.Connect(fd, sa).(unix.Errno)
	}
	if errno != 0 && errno != unix.EALREADY {
		unix.Close(fd)
		return errno
	}
	c.fd = fd
	return errno
}

// attend prepares a dialed socket for what follows.
func (c *conn) attend() {
	tune(c.fd)
	if c.s.watch(c.fd, c, watchAll) != nil {
		c.abort()
	}
}

// tune prepares a host socket: the container's kernel has already decided
// when to send what (Nagle), and dead peers are noticed as if the container
// had asked for it.
func tune(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	sa := &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	if zone := a.Addr().Zone(); zone != "" {
		index, _ := rtnl.Index(zone)
		sa.ZoneId = uint32(index)
	}
	return sa
}

// Inbound joins fd, a connected host socket, to port of the container, which
// sees client as the other end. It owns fd from here on. A container that
// refuses resets the client.
func (s *Stack) Inbound(fd int, client netip.AddrPort, port uint16) {
	s.do(func() {
		if s.stop || !s.inbound(fd, client, port) {
			resetClose(fd)
		}
	})
}

func (s *Stack) inbound(fd int, client netip.AddrPort, port uint16) bool {
	local, ok := s.local(client.Addr())
	k := key{client.Addr(), local, client.Port(), port}
	if _, taken := s.conns[k]; taken || !ok || len(s.conns) >= maxConns {
		return false
	}
	c := &conn{s: s, key: k, local: local, fd: fd, state: synSent, heard: s.now, mss: uint16(s.mss(local)), scale: noScale}
	c.timer.owner, c.waiting.conn = c, c
	tune(fd)
	unix.SetNonblock(fd, true)
	if s.watch(fd, c, watchAll) != nil {
		return false
	}
	s.conns[k] = c
	c.handshake()
	return true
}

// local is the container's address of the same family as remote.
func (s *Stack) local(remote netip.Addr) (netip.Addr, bool) {
	for _, p := range s.cfg.Addresses {
		if p.Addr().Is4() == remote.Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// ready is told what epoll saw at the host socket; 0 when the turn before
// left something to do.
func (c *conn) ready(events uint32) {
	c.queued = false
	if c.state == dialing {
		c.connected(events)
		return
	}
	if events&(unix.EPOLLIN|hungUp) != 0 {
		c.readable = true
		c.hup = c.hup || events&hungUp != 0
	}
	if c.state != established {
		return
	}
	if events&(unix.EPOLLOUT|unix.EPOLLERR) != 0 && c.backlog.size > 0 {
		c.drain()
	}
	if c.state == established {
		c.flush()
	}
}

// connected looks at how the dial ended.
func (c *conn) connected(events uint32) {
	if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
		return
	}
	c.s.dialing.remove(&c.waiting)
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		if errno := socketError(c.fd); errno != 0 {
			delete(c.s.conns, c.key)
			c.rejected(errno)
			return
		}
	}
	c.state = synReceived
	c.readable = events&unix.EPOLLIN != 0
	c.hup = events&unix.EPOLLRDHUP != 0
	c.handshake()
}

// rejected tells the container why its SYN led nowhere, in the words that a
// router or host would use, and ends the connection.
func (c *conn) rejected(errno unix.Errno) {
	switch errno {
	case unix.ECONNREFUSED, unix.ECONNRESET:
		c.transmit(flagRST|flagACK, 0, 0, 0)
	case unix.ENETUNREACH:
		c.s.unreachable(c, whyNetwork)
	case unix.EHOSTUNREACH, unix.EHOSTDOWN, unix.EINVAL, unix.EAFNOSUPPORT:
		c.s.unreachable(c, whyHost)
	case unix.EACCES, unix.EPERM:
		c.s.unreachable(c, whyProhibited)
	default:
		// Timed out: so will the container. Out of descriptors or ports: it
		// tries again in a second.
	}
	c.close()
}

// handshake sends a SYN (inbound) or SYN-ACK (outbound).
func (c *conn) handshake() {
	c.iss = random32()
	c.una, c.nxt, c.max = c.iss, c.iss+1, c.iss+1
	c.recover = c.iss
	c.sendSyn()
	c.rto = c.s.now + int64(minRetransmit)
	c.arm()
}

func (c *conn) sendSyn() {
	flags := byte(flagSYN)
	if c.state == synReceived {
		flags |= flagACK
	}
	c.transmit(flags, c.iss, 0, 0)
}

// abort resets both ends.
func (c *conn) abort() {
	if c.state == established || c.state == synReceived {
		c.transmit(flagRST|flagACK, c.nxt, 0, 0)
	}
	c.cut()
}

// cut resets the host's end.
func (c *conn) cut() {
	if c.fd >= 0 {
		unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	c.close()
}

// close frees what the connection holds. The host socket says goodbye in the
// way that was arranged before.
func (c *conn) close() {
	if c.state == closed {
		return
	}
	c.state = closed
	if c.s.conns[c.key] == c {
		delete(c.s.conns, c.key)
	}
	c.s.dialing.remove(&c.waiting)
	c.s.timers.stop(&c.timer)
	c.flight.release(&c.s.chunks)
	c.backlog.release(&c.s.chunks)
	if c.fd >= 0 {
		c.s.forget(c.fd)
		c.fd = -1
	}
}

func resetClose(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

// queue is a list of connections in order of age.
type queue struct {
	head, tail *node
	size       int
}

type node struct {
	conn       *conn
	prev, next *node
	in         bool
}

func (q *queue) first() *conn { return q.head.conn }

func (q *queue) push(n *node) {
	n.in, n.prev, n.next = true, q.tail, nil
	if q.tail == nil {
		q.head = n
	} else {
		q.tail.next = n
	}
	q.tail = n
	q.size++
}

func (q *queue) remove(n *node) {
	if !n.in {
		return
	}
	if n.prev == nil {
		q.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		q.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	*n = node{conn: n.conn}
	q.size--
}
