package stack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A flow joins datagrams of one container port (or ping identifier) and one
// remote to a connected host socket. A connected socket hears of refused
// ports and unreachable hosts, and nobody else can send to it.
type flow struct {
	s     *Stack
	in    *table
	key   key
	local netip.Addr
	fd    int

	used     instant
	answered bool
	timer    timer

	older, newer *flow

	// Of ping flows without the right to real ones: the last request.
	request []byte
	// Of flows that a client of a published port began: where its datagrams came
	// in. fd is -1.
	inlet *inlet
	back  backway
}

// table holds flows of one kind, the least recently used first.
type table struct {
	s      *Stack
	limit  int
	byKey  map[key]*flow
	oldest *flow
	newest *flow
}

func newTable(s *Stack, limit int) *table {
	return &table{s: s, limit: limit, byKey: map[key]*flow{}}
}

func (t *table) size() int { return len(t.byKey) }

// find returns the flow of a key and marks it as used.
func (t *table) find(k key) *flow {
	f := t.byKey[k]
	if f != nil {
		f.used = t.s.now
		t.unlink(f)
		t.link(f)
	}
	return f
}

// add opens a flow over fd, which it owns from here on.
func (t *table) add(k key, local netip.Addr, fd int) *flow {
	if len(t.byKey) >= t.limit {
		t.oldest.close()
	}
	f := &flow{s: t.s, in: t, key: k, local: local, fd: fd, used: t.s.now}
	f.timer.owner = f
	if fd >= 0 && t.s.watch(fd, f, unix.EPOLLIN) != nil {
		unix.Close(fd)
		return nil
	}
	t.byKey[k] = f
	t.link(f)
	f.arm()
	return f
}

func (t *table) link(f *flow) {
	f.older, f.newer = t.newest, nil
	if t.newest != nil {
		t.newest.newer = f
	} else {
		t.oldest = f
	}
	t.newest = f
}

func (t *table) unlink(f *flow) {
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		t.oldest = f.newer
	}
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		t.newest = f.older
	}
}

func (t *table) closeAll() {
	for t.oldest != nil {
		t.oldest.close()
	}
}

func (f *flow) close() {
	f.in.unlink(f)
	delete(f.in.byKey, f.key)
	f.s.timers.stop(&f.timer)
	if f.fd >= 0 {
		f.s.forget(f.fd)
	}
}

func (f *flow) lifetime() instant {
	switch {
	case f.in == f.s.echoes:
		return int64(echoTimeout)
	case f.answered:
		return int64(udpAnswered)
	}
	return int64(udpUnanswered)
}

func (f *flow) arm() { f.s.timers.set(&f.timer, f.used+f.lifetime()) }

func (f *flow) expired() {
	if f.s.now < f.used+f.lifetime() {
		f.arm()
		return
	}
	f.close()
}

// udp handles a datagram from the container.
func (s *Stack) udp(p *packet) {
	if len(p.body) < udpLen {
		return
	}
	sport, dport := binary.BigEndian.Uint16(p.body), binary.BigEndian.Uint16(p.body[2:])
	size := int(binary.BigEndian.Uint16(p.body[4:]))
	if size < udpLen || size > len(p.body) || dport == 0 {
		return
	}
	data := p.body[udpLen:size]
	k := key{p.dst, p.src, dport, sport}
	if p.dst == s.gateway(p.src) && dport == dnsPort {
		s.dns.ask(k, p.src, data)
		return
	}
	f := s.flows.find(k)
	if f == nil {
		if f = s.openFlow(p, k); f == nil {
			return
		}
	}
	f.send(data)
}

// openFlow connects a host socket to where a datagram wants to go.
func (s *Stack) openFlow(p *packet, k key) *flow {
	to, ok := s.route(p.dst, p.src, k.rport)
	if !ok {
		s.refuse(protoUDP, k, p.src, whyProhibited)
		return nil
	}
	fd, errno := datagramSocket(to, 0)
	if errno != 0 {
		s.refuse(protoUDP, k, p.src, why(errno))
		return nil
	}
	return s.flows.add(k, p.src, fd)
}

// datagramSocket opens a connected socket for datagrams of a protocol.
func datagramSocket(to netip.AddrPort, protocol int) (int, unix.Errno) {
	domain := unix.AF_INET6
	if to.Addr().Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, err.(unix.Errno)
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		unix.Close(fd)
		return -1, err.(unix.Errno)
	}
	return fd, 0
}

// send passes a datagram to the host. The first try may only collect the
// error that an earlier datagram caused.
func (f *flow) send(data []byte) {
	if f.inlet != nil {
		f.answered = true
		f.inlet.send(data, &f.back)
		return
	}
	_, errno := send(f.fd, data)
	if errno != 0 && errno != unix.EAGAIN {
		f.failed(errno)
		send(f.fd, data)
	}
}

// failed passes an error on to the container.
func (f *flow) failed(errno unix.Errno) {
	if f.in == f.s.flows {
		f.s.refuse(protoUDP, f.key, f.local, why(errno))
	}
}

// datagramsPerTurn is how many datagrams one flow may bring before others
// have their turn.
const datagramsPerTurn = 32

// ready takes datagrams from the host.
func (f *flow) ready(uint32) {
	for range datagramsPerTurn {
		n, errno := recv(f.fd, f.s.in[:])
		switch {
		case errno == unix.EAGAIN:
			return
		case errno != 0 && f.request != nil:
			f.probed(errno)
		case errno != 0:
			f.failed(errno)
		case f.in == f.s.echoes:
			f.reply(f.s.in[:n])
		default:
			f.used, f.answered = f.s.now, true
			f.s.datagram(f.key, f.local, f.s.in[:n])
		}
	}
}

// datagram sends one to the container, from the remote end of k. It may be
// larger than the MTU: the device only cares in the other direction.
func (s *Stack) datagram(k key, local netip.Addr, data []byte) {
	if len(data) > 1<<16-1-ip4Len-udpLen {
		return
	}
	h := s.head[vnetLen:]
	size := udpLen + len(data)
	ip := putIP(h, k.remote, local, protoUDP, size)
	u := h[ip : ip+udpLen]
	binary.BigEndian.PutUint16(u, k.rport)
	binary.BigEndian.PutUint16(u[2:], k.cport)
	binary.BigEndian.PutUint16(u[4:], uint16(size))
	binary.BigEndian.PutUint16(u[6:], fold(pseudo(k.remote, local, protoUDP)+uint32(size)))
	putVnet(s.head[:vnetLen], ip == ip6Len, ip, udpLen, 6, 0)
	s.begin()
	s.carry(data)
	s.emit(vnetLen + ip + udpLen)
}
