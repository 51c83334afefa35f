package redirect

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is what differs between IPv4 and IPv6 in a rule.
type family struct {
	table  nftables.TableFamily
	offset uint32 // of the destination in the header
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return family{nftables.TableFamilyIPv4, 16}
	}
	return family{nftables.TableFamilyIPv6, 24}
}

// install redirects, in the namespace of the calling thread, every TCP connection
// that does not go to the container itself:
//
//	chain output { type nat hook output; ip daddr OWN return; ip daddr 127.0.0.0/8 return;
//	               ip daddr GATEWAY tcp dport 53 return; meta l4proto tcp redirect to :PORT }
func install(own, gateway netip.Addr, port uint16) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	f := familyOf(own)
	table := c.AddTable(&nftables.Table{Family: f.table, Name: "bryo"})
	chain := c.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	for _, e := range [][]expr.Any{
		append(f.to(netip.PrefixFrom(own, own.BitLen())), leave()),
		append(f.to(localNet(own)), leave()),
		append(append(f.to(netip.PrefixFrom(gateway, gateway.BitLen())), toPort(dnsPort)...), leave()),
		append(tcp(), &expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)}, &expr.Redir{RegisterProtoMin: 1}),
	} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: e})
	}
	if err := c.Flush(); err != nil {
		return err
	}
	_ = f.refuseOthers(c, table, own, gateway) // without it they are lost in silence
	return nil
}

// refuseOthers answers what is not redirected with "network unreachable".
func (f family) refuseOthers(c *nftables.Conn, table *nftables.Table, own, gateway netip.Addr) error {
	chain := c.AddChain(&nftables.Chain{
		Name: "others", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	const unreachable, network = 0, 0 // NFT_REJECT_ICMP_UNREACH, ICMP_NET_UNREACH or ICMPV6_NOROUTE
	for _, e := range [][]expr.Any{
		append(tcp(), leave()),
		append(f.to(netip.PrefixFrom(own, own.BitLen())), leave()),
		append(f.to(localNet(own)), leave()),
		append(f.to(netip.PrefixFrom(gateway, gateway.BitLen())), leave()),
		append(f.from(gateway), leave()),
		{&expr.Reject{Type: unreachable, Code: network}},
	} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: e})
	}
	return c.Flush()
}

func localNet(own netip.Addr) netip.Prefix {
	if own.Is4() {
		return netip.PrefixFrom(loopback(own), 8).Masked()
	}
	return netip.PrefixFrom(loopback(own), 128)
}

// to matches a destination.
func (f family) to(p netip.Prefix) []expr.Any {
	size := uint32(p.Addr().BitLen() / 8)
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: size}
	mask := net.CIDRMask(p.Bits(), p.Addr().BitLen())
	return []expr.Any{
		load,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// from matches a source: it stands before the destination in both headers.
func (f family) from(a netip.Addr) []expr.Any {
	size := uint32(a.BitLen() / 8)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset - size, Len: size},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

func tcp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
}

func toPort(n uint16) []expr.Any {
	return append(tcp(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, n)})
}

func leave() expr.Any { return &expr.Verdict{Kind: expr.VerdictReturn} }

// original asks the kernel where a redirected connection was going. The number is
// SO_ORIGINAL_DST of <linux/netfilter_ipv4.h> and of its sister for IPv6.
func original(c *net.TCPConn) (to netip.AddrPort, err error) {
	const originalDestination = 80
	raw, err := c.SyscallConn()
	if err != nil {
		return to, err
	}
	level, four := uintptr(unix.SOL_IPV6), unmapped(c.LocalAddr().(*net.TCPAddr).AddrPort()).Addr().Is4()
	if four {
		level = unix.SOL_IP
	}
	var name [28]byte // struct sockaddr_in or sockaddr_in6
	size := uint32(len(name))
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, level, originalDestination,
			uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("getsockopt", errno)
	}
	if err != nil {
		return to, err
	}
	port := binary.BigEndian.Uint16(name[2:])
	if four {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(name[4:8])), port), nil
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(name[8:24])).Unmap(), port), nil
}
