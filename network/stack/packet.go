package stack

import (
	"encoding/binary"
	"net/netip"
)

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	ip4Len = 20
	ip6Len = 40
	tcpLen = 20
	udpLen = 8
)

// A packet is one IP packet from the container, taken apart. The slices point
// into the buffer that it was read into.
type packet struct {
	src, dst netip.Addr
	proto    uint8
	whole    []byte // from the first byte of the IP header
	body     []byte // from the first byte of the transport header

	// Of a fragment: where body belongs (bytes), whether more follow, and
	// which datagram it is a part of.
	fragment bool
	offset   int
	more     bool
	ident    uint32
}

// parse takes an IP packet apart and reports whether it is well-formed. It
// never looks at anything outside b, whatever the lengths inside claim.
func parse(b []byte) (p packet, ok bool) {
	if len(b) < ip4Len {
		return p, false
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b)
	case 6:
		return parse6(b)
	}
	return p, false
}

func parse4(b []byte) (p packet, ok bool) {
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ip4Len || total < header || total > len(b) {
		return p, false
	}
	p.src = netip.AddrFrom4([4]byte(b[12:16]))
	p.dst = netip.AddrFrom4([4]byte(b[16:20]))
	p.proto = b[9]
	p.whole, p.body = b[:total], b[header:total]
	where := binary.BigEndian.Uint16(b[6:])
	p.offset, p.more = int(where&0x1fff)*8, where&0x2000 != 0
	p.fragment = p.more || p.offset != 0
	p.ident = uint32(binary.BigEndian.Uint16(b[4:]))
	return p, true
}

// maxExtensions bounds the chain of IPv6 extension headers; real packets have
// one or two.
const maxExtensions = 8

func parse6(b []byte) (p packet, ok bool) {
	if len(b) < ip6Len {
		return p, false
	}
	total := ip6Len + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return p, false
	}
	p.src = netip.AddrFrom16([16]byte(b[8:24]))
	p.dst = netip.AddrFrom16([16]byte(b[24:40]))
	p.proto, p.whole, p.body = b[6], b[:total], b[ip6Len:total]
	for range maxExtensions {
		switch p.proto {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(p.body) < 8 || len(p.body) < 8+int(p.body[1])*8 {
				return p, false
			}
			p.proto, p.body = p.body[0], p.body[8+int(p.body[1])*8:]
		case 44:
			if len(p.body) < 8 || p.fragment {
				return p, false
			}
			where := binary.BigEndian.Uint16(p.body[2:])
			p.offset, p.more = int(where&^7), where&1 != 0
			p.fragment = p.more || p.offset != 0
			p.ident = binary.BigEndian.Uint32(p.body[4:])
			p.proto, p.body = p.body[0], p.body[8:]
			if p.fragment {
				return p, true // what follows is a piece, not a header
			}
		default:
			return p, true
		}
	}
	return p, false
}

// sum adds b to an internet checksum in the making (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for len(b) >= 2 {
		s += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// fold brings a sum down to 16 bits.
func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pseudo is the sum of the addresses and protocol of the pseudo-header; the
// length is added by whoever knows it.
func pseudo(src, dst netip.Addr, proto uint8) uint32 {
	s := uint32(proto)
	if src.Is4() {
		a, b := src.As4(), dst.As4()
		return sum(sum(s, a[:]), b[:])
	}
	a, b := src.As16(), dst.As16()
	return sum(sum(s, a[:]), b[:])
}

// putIP writes an IP header for a body of the given length and returns the
// header's size. b has room for ip6Len bytes.
func putIP(b []byte, src, dst netip.Addr, proto uint8, body int) int {
	if src.Is4() {
		a, d := src.As4(), dst.As4()
		return putIP4(b, &a, &d, proto, body)
	}
	a, d := src.As16(), dst.As16()
	clear(b[:8])
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(body))
	b[6], b[7] = proto, 64
	copy(b[8:], a[:])
	copy(b[24:], d[:])
	return ip6Len
}

func putIP4(b []byte, src, dst *[4]byte, proto uint8, body int) int {
	clear(b[:ip4Len])
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(ip4Len+body))
	b[6] = 0x40 // do not fragment: no identification is needed then (RFC 6864)
	b[8], b[9] = 64, proto
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:ip4Len])))
	return ip4Len
}
