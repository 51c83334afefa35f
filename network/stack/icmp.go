package stack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// reason is why something cannot be reached, for both families: the code of
// an ICMP "destination unreachable" (RFC 792, RFC 1812; RFC 4443).
type reason struct{ code4, code6 byte }

var (
	whyNetwork    = reason{0, 0}
	whyHost       = reason{1, 3}
	whyPort       = reason{3, 4}
	whyProhibited = reason{13, 1}
)

func why(errno unix.Errno) reason {
	switch errno {
	case unix.ECONNREFUSED:
		return whyPort
	case unix.ENETUNREACH:
		return whyNetwork
	case unix.EACCES, unix.EPERM:
		return whyProhibited
	}
	return whyHost
}

// unreachable tells the container that a connection's SYN did not arrive. The
// quoted header carries its sequence number, without which Linux ignores it.
func (s *Stack) unreachable(c *conn, r reason) {
	var t [tcpLen]byte
	binary.BigEndian.PutUint16(t[:], c.key.cport)
	binary.BigEndian.PutUint16(t[2:], c.key.rport)
	binary.BigEndian.PutUint32(t[4:], c.rcv-1)
	t[12], t[13] = tcpLen/4<<4, flagSYN
	s.quote(protoTCP, c.key.remote, c.local, r, t[:])
}

// refuse tells the container that a datagram did not arrive.
func (s *Stack) refuse(proto uint8, k key, local netip.Addr, r reason) {
	var u [udpLen]byte
	binary.BigEndian.PutUint16(u[:], k.cport)
	binary.BigEndian.PutUint16(u[2:], k.rport)
	binary.BigEndian.PutUint16(u[4:], udpLen)
	s.quote(proto, k.remote, local, r, u[:])
}

// quote sends a "destination unreachable" for a packet to remote that began with the
// given transport header. It is made anew, not copied: the packet itself is long
// gone. It comes from the gateway, or, as a router's kernel throws away what claims
// to come from itself, from the host behind that.
func (s *Stack) quote(proto uint8, remote, local netip.Addr, r reason, transport []byte) {
	var m [8 + ip6Len + tcpLen]byte
	ip := putIP(m[8:], local, remote, proto, len(transport))
	n := 8 + ip + copy(m[8+ip:], transport)
	if local.Is4() {
		m[0], m[1] = 3, r.code4
	} else {
		m[0], m[1] = 1, r.code6
	}
	s.sendICMP(s.standIn(local), local, m[:n])
}

// sendICMP fills in the checksum and sends a message.
func (s *Stack) sendICMP(from, local netip.Addr, m []byte) {
	if len(m) > 1<<16-1-ip6Len {
		return
	}
	proto, start := uint8(protoICMP), uint32(0)
	if local.Is6() {
		proto = protoICMPv6
		start = pseudo(from, local, proto) + uint32(len(m))
	}
	m[2], m[3] = 0, 0
	binary.BigEndian.PutUint16(m[2:], ^fold(sum(start, m)))
	h := s.head[vnetLen:]
	ip := putIP(h, from, local, proto, len(m))
	clear(s.head[:vnetLen])
	s.begin()
	s.carry(m)
	s.emit(vnetLen + ip)
}

const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	echoLen                  = 8 // type, code, checksum, identifier, sequence
)

func isEcho(p *packet) bool {
	if len(p.body) < echoLen || p.body[1] != 0 {
		return false
	}
	if p.src.Is4() {
		return p.proto == protoICMP && p.body[0] == echoRequest4
	}
	return p.proto == protoICMPv6 && p.body[0] == echoRequest6
}

// icmp handles pings; all other messages of the container are nobody's
// business here.
func (s *Stack) icmp(p *packet) {
	if !isEcho(p) {
		return
	}
	if p.dst == s.gateway(p.src) {
		s.echo(p.dst, p.src, p.body)
		return
	}
	k := key{p.dst, p.src, 0, binary.BigEndian.Uint16(p.body[4:])}
	f := s.echoes.find(k)
	if f == nil {
		if f = s.openEcho(p, k); f == nil {
			return
		}
	}
	if f.request != nil {
		f.request = append(f.request[:0], p.body...)
		f.send(p.body[:1])
		return
	}
	f.send(p.body)
}

// echo answers a ping in the name of from.
func (s *Stack) echo(from, local netip.Addr, request []byte) {
	request[0] = echoReply4
	if local.Is6() {
		request[0] = echoReply6
	}
	s.sendICMP(from, local, request)
}

// openEcho opens a ping socket, for which the user's group must be within
// net.ipv4.ping_group_range. Where it is not, a datagram to a port that
// nobody uses serves: "port unreachable" is an answer, too.
func (s *Stack) openEcho(p *packet, k key) *flow {
	to, ok := s.destination(p.dst, s.standIn(p.src))
	if !ok {
		s.quote(p.proto, p.dst, p.src, whyProhibited, p.body[:echoLen])
		return nil
	}
	fd, errno := datagramSocket(netip.AddrPortFrom(to, 0), int(p.proto))
	probe := errno == unix.EACCES || errno == unix.EPERM
	if probe {
		fd, errno = datagramSocket(netip.AddrPortFrom(to, probePort), 0)
	}
	if errno != 0 {
		s.quote(p.proto, p.dst, p.src, why(errno), p.body[:echoLen])
		return nil
	}
	f := s.echoes.add(k, p.src, fd)
	if probe && f != nil {
		f.request = make([]byte, 0, len(p.body))
	}
	return f
}

// probePort is where traceroute begins: as good as never in use.
const probePort = 33434

// probed handles the answer to a probe.
func (f *flow) probed(errno unix.Errno) {
	if errno == unix.ECONNREFUSED && len(f.request) >= echoLen {
		f.s.echo(f.key.remote, f.local, f.request)
		f.request = f.request[:0]
	}
}

// reply passes an echo reply on; the host's kernel had put its own identifier
// in.
func (f *flow) reply(m []byte) {
	if len(m) < echoLen || f.request != nil {
		return
	}
	binary.BigEndian.PutUint16(m[4:], f.key.cport)
	f.s.sendICMP(f.key.remote, f.local, m)
}
