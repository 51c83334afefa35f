package bridge

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"

	"bryo/network/rtnl"
)

// What a port of the bridge takes from its container: frames with the container's
// own hardware address that carry its own IP addresses, and ARP and neighbour
// advertisements for no others. So one with CAP_NET_RAW or CAP_NET_ADMIN cannot
// claim a neighbour's address or the gateway's, nor announce itself as a router.
//
// A classifier of tc(8) with a program of the old kind of BPF in it: that needs no
// call of bpf(2), which plain users do not have, and no kernel module of actions.

// Verdicts are those of <linux/pkt_cls.h>. A load beyond the end of a frame ends a
// program with 0: every frame that is so short is thrown away by who gets it.
var (
	pass bpf.Instruction = bpf.RetConstant{Val: 0} // TC_ACT_OK
	drop bpf.Instruction = bpf.RetConstant{Val: 2} // TC_ACT_SHOT
)

// Offsets in a frame: an Ethernet header and what follows it.
const (
	atSource    = 6
	atType      = 12
	atPayload   = 14
	arpKind     = atPayload // hardware and protocol type
	arpSizes    = atPayload + 4
	arpHardware = atPayload + 8 // the sender's
	arpAddress  = atPayload + 14
	ip4Source   = atPayload + 12
	ip6Next     = atPayload + 6
	ip6Source   = atPayload + 8
	ip6Payload  = atPayload + 40
)

// guard puts the filter on a container's port.
func (h *helper) guard(e *endpoint) error {
	raw, err := bpf.Assemble(guardProgram(e.mac, e.addresses))
	if err != nil {
		return err
	}
	if err := rtnl.SubmitOn(int(h.router.netlink.Fd()), rtnl.IngressQueue(e.port), rtnl.IngressFilter(e.port, raw)); err != nil {
		return fmt.Errorf("containers of network %s can take each other's addresses, if they have CAP_NET_RAW: %w", h.config.Name, err)
	}
	return nil
}

func guardProgram(mac net.HardwareAddr, addresses []netip.Prefix) []bpf.Instruction {
	var four, six [][]byte
	for _, p := range addresses {
		if p.Addr().Is4() {
			four = append(four, p.Addr().AsSlice())
		} else {
			six = append(six, p.Addr().AsSlice())
		}
	}
	six = append(six, linkLocal(mac))
	arp := join(
		oneOf(arpKind, []byte{0, 1, 8, 0}), oneOf(arpSizes, []byte{6, 4}),
		oneOf(arpHardware, mac), oneOf(arpAddress, append(four, make([]byte, 4))...),
	)
	return join(
		oneOf(atSource, mac),
		word(atType, 2),
		when(0x0806, join(arp, pass)),
		when(0x0800, join(oneOf(ip4Source, four...), pass)),
		when(0x86dd, join(oneOf(ip6Source, append(six, make([]byte, 16))...), neighbours(six))),
		drop,
	)
}

// neighbours lets nobody advertise an address that is not its own, or itself as a
// router, or a better way. An option header may stand before reports of multicast
// groups, and not hide anything else of ICMPv6.
func neighbours(own [][]byte) []bpf.Instruction {
	const icmp, ahead = 58, ip6Payload + 8
	reports := join(oneOf(ip6Payload+1, []byte{0}), oneOf(ahead, []byte{130}, []byte{131}, []byte{132}, []byte{143}), pass)
	options := join(
		word(ip6Payload, 1),
		when(icmp, reports),
		noneOf(0, 43, 44, 51, 60), // a chain of headers
		pass,
	)
	const redirect, router, advertisement = 137, 134, 136
	messages := join(word(ip6Payload, 1), noneOf(redirect, router), when(advertisement, oneOf(ip6Payload+8, own...)), pass)
	return join(
		word(ip6Next, 1),
		when(icmp, messages),
		when(0, options), when(43, options), when(60, options),
		pass,
	)
}

// linkLocal is the address that the kernel makes of a hardware address.
func linkLocal(mac net.HardwareAddr) []byte {
	return []byte{0xfe, 0x80, 7: 0, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
}

func word(at uint32, size int) bpf.Instruction { return bpf.LoadAbsolute{Off: at, Size: size} }

// join makes one program of instructions and parts.
func join(parts ...any) (all []bpf.Instruction) {
	for _, p := range parts {
		switch p := p.(type) {
		case bpf.Instruction:
			all = append(all, p)
		case []bpf.Instruction:
			all = append(all, p...)
		}
	}
	return all
}

// when runs a part if the value that was loaded is v.
func when(v uint32, part []bpf.Instruction) []bpf.Instruction {
	return join(bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: uint8(len(part))}, part)
}

// noneOf drops a frame if the value that was loaded is one of these.
func noneOf(values ...uint32) (all []bpf.Instruction) {
	for _, v := range values {
		all = append(all, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: 1}, drop)
	}
	return all
}

// oneOf drops a frame that has none of the values at that place.
func oneOf(at uint32, values ...[]byte) []bpf.Instruction {
	rest := []bpf.Instruction{drop}
	for _, v := range values {
		var same []bpf.Instruction
		for i := 0; i < len(v); {
			value, size := largest(v[i:])
			same = append(same, word(at+uint32(i), size), bpf.JumpIf{Cond: bpf.JumpEqual, Val: value})
			i += size
		}
		for i := 1; i < len(same); i += 2 {
			j := same[i].(bpf.JumpIf)
			j.SkipFalse = uint8(len(same) - i) // over the rest and the jump
			same[i] = j
		}
		rest = join(same, bpf.Jump{Skip: uint32(len(rest))}, rest)
	}
	return rest
}

// largest is the largest number that a program compares at once.
func largest(b []byte) (uint32, int) {
	switch {
	case len(b) >= 4:
		return binary.BigEndian.Uint32(b), 4
	case len(b) >= 2:
		return uint32(binary.BigEndian.Uint16(b)), 2
	}
	return uint32(b[0]), 1
}
