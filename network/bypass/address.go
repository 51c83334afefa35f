package bypass

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// address is a socket address as the caller wrote it, for IPv4 and IPv6.
type address struct {
	family uint16 // AF_INET, AF_INET6 or AF_UNSPEC
	to     netip.AddrPort
	flow   uint32
	scope  uint32
}

// Sizes of struct sockaddr_in, and of a sockaddr_in6 without its scope, with which
// the kernel is content (SIN6_LEN_RFC2133).
const (
	sizeInet    = 16
	sizeInet6   = 24
	sizeStorage = 128
)

// address reads and parses a socket address.
func (p *pending) address(at, length uint64) (address, error) {
	n := int(int32(length))
	if n < 2 || n > sizeStorage {
		return address{}, unix.EINVAL
	}
	b, err := p.read(at, n)
	if err != nil {
		return address{}, err
	}
	return parseAddress(b)
}

func parseAddress(b []byte) (address, error) {
	if len(b) < 2 {
		return address{}, unix.EINVAL
	}
	a := address{family: binary.NativeEndian.Uint16(b)}
	switch a.family {
	case unix.AF_UNSPEC:
		// bind(2) and sendto(2) take it for IPv4.
		if len(b) >= sizeInet {
			a.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
		}
	case unix.AF_INET:
		if len(b) < sizeInet {
			return a, unix.EINVAL
		}
		a.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
	case unix.AF_INET6:
		if len(b) < sizeInet6 {
			return a, unix.EINVAL
		}
		a.to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[2:]))
		a.flow = binary.BigEndian.Uint32(b[4:])
		if len(b) >= sizeInet6+4 {
			a.scope = binary.NativeEndian.Uint32(b[sizeInet6:])
		}
	default:
		return a, unix.EAFNOSUPPORT
	}
	return a, nil
}

// bytes is the address in the kernel's form, made anew from what was parsed.
func (a address) bytes() []byte {
	b := binary.NativeEndian.AppendUint16(make([]byte, 0, 28), a.family)
	b = binary.BigEndian.AppendUint16(b, a.to.Port())
	if a.family == unix.AF_INET6 {
		b = binary.BigEndian.AppendUint32(b, a.flow)
		addr := a.to.Addr().As16()
		b = append(b, addr[:]...)
		return binary.NativeEndian.AppendUint32(b, a.scope)
	}
	if a.to.Addr().Is4() {
		addr := a.to.Addr().As4()
		b = append(b, addr[:]...)
	}
	for len(b) < sizeInet {
		b = append(b, 0)
	}
	return b
}

// towards is the address with another end, in a form that a socket of the family
// takes.
func (a address) towards(to netip.AddrPort) address {
	if to == a.to {
		return a
	}
	addr := to.Addr()
	switch {
	case a.family == unix.AF_INET6 && addr.Is4():
		addr = netip.AddrFrom16(addr.As16()) // ::ffff:a.b.c.d
	case a.family != unix.AF_INET6 && !addr.Is4():
		a.family = unix.AF_INET6
	}
	a.to, a.flow, a.scope = netip.AddrPortFrom(addr, to.Port()), 0, 0
	return a
}
