package bridge

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// frame is an Ethernet header and what follows, by fields at their places.
func frame(from net.HardwareAddr, kind uint16, size int, fields map[int][]byte) []byte {
	b := make([]byte, atPayload+size)
	copy(b[atSource:], from)
	b[atType], b[atType+1] = byte(kind>>8), byte(kind)
	for at, v := range fields {
		copy(b[at:], v)
	}
	return b
}

// TestGuard: what a port takes from its container, and what it does not.
func TestGuard(t *testing.T) {
	mac, other := net.HardwareAddr{2, 0x42, 10, 9, 0, 2}, net.HardwareAddr{2, 0x42, 10, 9, 0, 3}
	own, neighbour := []byte{10, 9, 0, 2}, []byte{10, 9, 0, 3}
	own6, neighbour6 := netip.MustParseAddr("fd09::2").AsSlice(), netip.MustParseAddr("fd09::3").AsSlice()
	link := netip.MustParseAddr("fe80::42:aff:fe09:2").AsSlice()
	addresses := []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24"), netip.MustParsePrefix("fd09::2/64")}
	vm, err := bpf.NewVM(guardProgram(mac, addresses))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bpf.Assemble(guardProgram(mac, addresses)); err != nil {
		t.Fatal(err)
	}
	arp := func(from, sender net.HardwareAddr, a []byte) []byte {
		return frame(from, 0x0806, 28, map[int][]byte{arpKind: {0, 1, 8, 0, 6, 4, 0, 2}, arpHardware: sender, arpAddress: a})
	}
	four := func(from net.HardwareAddr, a []byte) []byte {
		return frame(from, 0x0800, 40, map[int][]byte{atPayload: {0x45}, ip4Source: a})
	}
	// six: chain are the bytes from the payload on.
	six := func(source []byte, next byte, chain ...byte) []byte {
		return frame(mac, 0x86dd, 100, map[int][]byte{ip6Next: {next}, ip6Source: source, ip6Payload: chain})
	}
	advert := func(target []byte) []byte { return append([]byte{136, 0, 0, 0, 0, 0, 0, 0}, target...) }
	none := make([]byte, 16)
	for _, c := range []struct {
		what  string
		frame []byte
		want  bool
	}{
		{"IPv4", four(mac, own), true},
		{"IPv4 of a neighbour", four(mac, neighbour), false},
		{"IPv4 of nobody", four(mac, make([]byte, 4)), false},
		{"IPv4 from another hardware address", four(other, own), false},
		{"ARP", arp(mac, mac, own), true},
		{"ARP probe", arp(mac, mac, make([]byte, 4)), true},
		{"ARP for a neighbour", arp(mac, mac, neighbour), false},
		{"ARP with another hardware address", arp(mac, other, own), false},
		{"ARP from another hardware address", arp(other, mac, own), false},
		{"ARP of another kind", frame(mac, 0x0806, 28, map[int][]byte{arpKind: {0, 6, 8, 0, 6, 4}, arpHardware: mac, arpAddress: own}), false},
		{"RARP", frame(mac, 0x8035, 28, nil), false},
		{"VLAN in VLAN", frame(mac, 0x8100, 60, nil), false},
		{"IPv6", six(own6, 6), true},
		{"IPv6 link-local", six(link, 58, 135), true},
		{"IPv6 of nobody", six(none, 58, 135), true},
		{"IPv6 of a neighbour", six(neighbour6, 6), false},
		{"echo", six(own6, 58, 128), true},
		{"advertisement", six(own6, 58, advert(own6)...), true},
		{"advertisement, link-local", six(link, 58, advert(link)...), true},
		{"advertisement for a neighbour", six(own6, 58, advert(neighbour6)...), false},
		{"router advertisement", six(link, 58, 134), false},
		{"redirect", six(link, 58, 137), false},
		{"fragment", six(own6, 44, 58, 0, 0, 1), true},
		{"report behind options", six(link, 0, append([]byte{58, 0, 5, 2, 0, 0, 0, 0}, 143)...), true},
		{"advertisement behind options", six(own6, 0, append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, advert(neighbour6)...)...), false},
		{"router advertisement behind long options", six(link, 60, append([]byte{58, 1}, slices.Repeat([]byte{143}, 14)...)...), false},
		{"a chain of headers", six(own6, 0, 60, 0, 1, 4, 0, 0, 0, 0, 58), false},
		{"TCP behind options", six(own6, 60, 6, 0, 1, 4, 0, 0, 0, 0), true},
	} {
		verdict, err := vm.Run(c.frame)
		if err != nil || verdict != 0 && verdict != 2 {
			t.Fatalf("%s: %d, %v", c.what, verdict, err)
		}
		if got := verdict == 0; got != c.want {
			t.Errorf("%s: taken %v", c.what, got)
		}
	}
	// A network without one of the families carries none of it.
	vm, _ = bpf.NewVM(guardProgram(mac, addresses[1:]))
	if verdict, _ := vm.Run(four(mac, own)); verdict != 2 {
		t.Error("IPv4 on a network without it")
	}
}
