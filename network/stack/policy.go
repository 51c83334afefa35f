package stack

import "net/netip"

// Policy says which destinations the container may reach. The zero value is
// the default: everything that the host can reach, except the host's own
// loopback, link-local addresses and the metadata services of clouds.
//
// It judges the address that is really dialed, after every rewriting; names
// play no part, so a DNS answer that points to a forbidden address gains
// nothing. Services on the host's other addresses can be reached, as they can
// from any machine on the same LAN.
type Policy struct {
	// HostLoopback makes the gateway stand for the host's loopback: what is
	// sent to the gateway arrives at 127.0.0.1 or ::1.
	HostLoopback bool
	// Metadata opens link-local and metadata addresses.
	Metadata bool
}

// metadata are the addresses outside the link-local ranges at which clouds
// hand out credentials to whoever asks from inside the machine.
var metadata = [...]netip.Addr{
	netip.AddrFrom4([4]byte{100, 100, 100, 200}),                                     // Alibaba
	netip.AddrFrom4([4]byte{168, 63, 129, 16}),                                       // Azure
	netip.AddrFrom4([4]byte{192, 0, 0, 192}),                                         // Oracle
	netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54}),        // AWS: fd00:ec2::254
	netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 15: 0x23}),                  // AWS, identities of pods: fd00:ec2::23
	netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x20, 3: 0xce, 14: 0x02, 15: 0x54}),        // Google: fd20:ce::254
	netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x42, 15: 0x42}),                           // Scaleway: fd00:42::42
	netip.AddrFrom16([16]byte{0: 0xfd, 3: 0xc1, 12: 169, 13: 254, 14: 169, 15: 254}), // Oracle: fd00:c1::a9fe:a9fe
}

// Allows reports whether the container may talk to a, an address as it would
// be dialed on the host.
func (p Policy) Allows(a netip.Addr) bool {
	if a.Is6() {
		if inner, ok := embedded(a); ok {
			return p.Allows(inner)
		}
	}
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.Zone() != "":
		return false
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240):
		return false // "this network" (Linux: this host), reserved, broadcast
	}
	if p.Metadata {
		return true
	}
	if a.IsLinkLocalUnicast() {
		return false
	}
	for _, m := range metadata {
		if a == m {
			return false
		}
	}
	return true
}

// embedded finds the IPv4 address inside the IPv6 forms of one: mapped
// (::ffff:0:0/96), compatible (::/96), NAT64 (64:ff9b::/96, and 64:ff9b:1::/48,
// RFC 8215) and 6to4 (2002::/16).
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	tail := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case a.Is4In6():
		return tail, true
	case [12]byte(b[:12]) == [12]byte{} && !a.IsUnspecified() && !a.IsLoopback():
		return tail, true
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b}, [6]byte(b[:6]) == [6]byte{0, 0x64, 0xff, 0x9b, 0, 1}:
		return tail, true
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return a, false
}

// destination turns an address as the container wrote it into the one to
// dial, and reports whether it may be dialed. gateway is the container's
// gateway of the same family.
func (p Policy) destination(a, gateway netip.Addr) (netip.Addr, bool) {
	if a == gateway {
		if !p.HostLoopback {
			return a, false
		}
		if a.Is4() {
			return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
		}
		return netip.IPv6Loopback(), true
	}
	return a, p.Allows(a)
}
