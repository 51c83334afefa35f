package rtnl

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Bridge makes a bridge. It floods multicast: with so few ports, learning who
// listens costs more than it saves.
func Bridge(name string, index int, mac net.HardwareAddr) *Request {
	data := appendAttr(nil, unix.IFLA_BR_MCAST_SNOOPING, []byte{0})
	r := newRequest("make bridge "+name, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, link(index, 0, 0))
	r.attr(unix.IFLA_IFNAME, cstring(name)).attr(unix.IFLA_ADDRESS, mac)
	return r.attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, linkInfo("bridge", data))
}

// Veth describes a pair of links: one end here, a port of the bridge Master, the
// other in the network namespace behind the descriptor Namespace.
type Veth struct {
	Name      string
	Index     int // 0: the kernel's choice
	Master    int
	MTU       int
	Namespace int
	Peer      string // the name there
	MAC       net.HardwareAddr
}

// Pair makes both ends, which are down. The caller needs CAP_NET_ADMIN in the user
// namespaces that own the two network namespaces.
func Pair(v Veth) *Request {
	peer := link(0, 0, 0)
	peer = appendAttr(peer, unix.IFLA_IFNAME, cstring(v.Peer))
	peer = appendAttr(peer, unix.IFLA_ADDRESS, v.MAC)
	peer = appendAttr(peer, unix.IFLA_MTU, uint32Bytes(v.MTU))
	peer = appendAttr(peer, unix.IFLA_NET_NS_FD, uint32Bytes(v.Namespace))
	const infoPeer = 1 // VETH_INFO_PEER
	r := newRequest(fmt.Sprintf("make link %s", v.Peer), unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, link(v.Index, 0, 0))
	r.attr(unix.IFLA_IFNAME, cstring(v.Name)).attr32(unix.IFLA_MTU, v.MTU).attr32(unix.IFLA_MASTER, v.Master)
	return r.attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, linkInfo("veth", appendAttr(nil, infoPeer|unix.NLA_F_NESTED, peer)))
}

// Isolate keeps a port of a bridge from talking to other isolated ports.
func Isolate(port int) *Request {
	const isolated = 33 // IFLA_BRPORT_ISOLATED
	fixed := link(port, 0, 0)
	fixed[0] = unix.AF_BRIDGE
	r := newRequest("isolate port", unix.RTM_SETLINK, 0, fixed)
	return r.attr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, appendAttr(nil, isolated, []byte{1}))
}

// Delete takes a link away, and with one end of a pair the other.
func Delete(name string) *Request {
	return newRequest("delete link "+name, unix.RTM_DELLINK, 0, link(0, 0, 0)).attr(unix.IFLA_IFNAME, cstring(name))
}

func linkInfo(kind string, data []byte) []byte {
	b := appendAttr(nil, unix.IFLA_INFO_KIND, cstring(kind))
	return appendAttr(b, unix.IFLA_INFO_DATA|unix.NLA_F_NESTED, data)
}

func cstring(s string) []byte { return append([]byte(s), 0) }

func uint32Bytes(n int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
