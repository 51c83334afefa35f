// Package subnet chooses the networks of bridges and the addresses on them.
//
// Start with Free, which finds a network that nothing else uses, and Pool.Next,
// which finds an address in one. Everything here is arithmetic on values; Routes
// alone reads the host.
package subnet

import (
	"crypto/rand"
	"net/netip"
)

// Docker's pools: the private networks that are least in use, the large ones
// first. 172.17 is what docker gives its default bridge.
func pools() (list []netip.Prefix) {
	for second := byte(18); second < 32; second++ {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, second, 0, 0}), 16))
	}
	for third := 0; third < 256; third += 16 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 20))
	}
	return list
}

// Free returns the first network of the pools that overlaps none of taken.
func Free(taken []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range pools() {
		if !OverlapsAny(p, taken) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Free6 returns a new unique local network (RFC 4193) of size /64.
func Free6(taken []netip.Prefix) netip.Prefix {
	for {
		b := [16]byte{0: 0xfd}
		_, _ = rand.Read(b[1:8]) // never fails, see crypto/rand
		if p := netip.PrefixFrom(netip.AddrFrom16(b), 64); !OverlapsAny(p, taken) {
			return p
		}
	}
}

// OverlapsAny says whether p has an address in common with one of list.
func OverlapsAny(p netip.Prefix, list []netip.Prefix) bool {
	for _, other := range list {
		if p.Overlaps(other) {
			return true
		}
	}
	return false
}

// Pool is where a network's addresses come from.
type Pool struct {
	Prefix netip.Prefix
	Range  netip.Prefix // a part of Prefix; invalid: all of it
}

// Next returns the lowest address for which free says yes, network and broadcast
// address left out.
func (p Pool) Next(free func(netip.Addr) bool) (netip.Addr, bool) {
	from := p.Prefix.Masked()
	if p.Range.IsValid() {
		from = p.Range.Masked()
	}
	for a := from.Addr(); a.IsValid() && from.Contains(a); a = a.Next() {
		if p.Usable(a) && free(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// Usable: an address of the network that a machine can have.
func (p Pool) Usable(a netip.Addr) bool {
	if !p.Prefix.Contains(a) {
		return false
	}
	if host := a.BitLen() - p.Prefix.Bits(); host < 2 {
		return true // point to point, RFC 3021
	}
	return a != p.Prefix.Masked().Addr() && (a.Is6() || a != Last(p.Prefix))
}

// Last is the highest address of a network.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
