// Package rtnl configures links, addresses and routes of the network
// namespace that the calling thread is in, over rtnetlink(7).
//
// A change is a Request; Submit sends any number of them in one go and in
// order. That is all of rtnetlink that attaching a container needs, and it
// costs no start-up time, which a general library does. It leaves out reading
// tables and events.
package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Request is one rtnetlink message in the making: header, fixed part and
// attributes.
type Request struct {
	what string // for errors
	msg  []byte
	soft bool
}

// Soft marks a request that may fail: a host without IPv6 still has a network.
func (r *Request) Soft() *Request { r.soft = true; return r }

func newRequest(what string, kind, flags uint16, fixed []byte) *Request {
	r := &Request{what: what, msg: make([]byte, unix.SizeofNlMsghdr, 160)}
	binary.NativeEndian.PutUint16(r.msg[4:], kind)
	binary.NativeEndian.PutUint16(r.msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	r.msg = append(r.msg, fixed...)
	return r
}

func (r *Request) attr(kind uint16, value []byte) *Request {
	r.msg = appendAttr(r.msg, kind, value)
	return r
}

func (r *Request) attr32(kind uint16, v int) *Request {
	return r.attr(kind, binary.NativeEndian.AppendUint32(nil, uint32(v)))
}

func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// link is struct ifinfomsg for a link, by index.
func link(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// Up sets a link up.
func Up(index int) *Request {
	return newRequest("set link up", unix.RTM_NEWLINK, 0, link(index, unix.IFF_UP, unix.IFF_UP))
}

// MTU sets the largest packet of a link, in bytes.
func MTU(index, mtu int) *Request {
	return newRequest(fmt.Sprintf("set MTU %d", mtu), unix.RTM_NEWLINK, 0, link(index, 0, 0)).attr32(unix.IFLA_MTU, mtu)
}

// NoLinkLocal keeps the kernel from making up a link-local IPv6 address, which
// would come with router solicitations and multicast reports to nobody.
func NoLinkLocal(index int) *Request {
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	mode := appendAttr(nil, unix.IFLA_INET6_ADDR_GEN_MODE, []byte{none})
	families := appendAttr(nil, unix.AF_INET6|unix.NLA_F_NESTED, mode)
	r := newRequest("turn link-local addresses off", unix.RTM_NEWLINK, 0, link(index, 0, 0))
	return r.attr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, families)
}

// Address gives a link an address, usable at once (no duplicate address
// detection: whoever assigns it knows who else is on the link).
func Address(index int, p netip.Prefix) *Request {
	fixed := make([]byte, unix.SizeofIfAddrmsg)
	fixed[0], fixed[1], fixed[2] = family(p.Addr()), byte(p.Bits()), unix.IFA_F_NODAD
	binary.NativeEndian.PutUint32(fixed[4:], uint32(index))
	r := newRequest("add address "+p.String(), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fixed)
	r.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
	return r.attr(unix.IFA_ADDRESS, p.Addr().AsSlice())
}

// DefaultRoute sends everything of the gateway's family to the gateway.
func DefaultRoute(index int, gateway netip.Addr) *Request {
	r := newRequest("add default route via "+gateway.String(), unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		route(family(gateway), 0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, unix.RT_SCOPE_UNIVERSE))
	r.attr(unix.RTA_GATEWAY, gateway.AsSlice())
	return r.attr32(unix.RTA_OIF, index)
}

// NoDefaultRoute takes away what DefaultRoute made of a family.
func NoDefaultRoute(index int, v4 bool) *Request {
	return newRequest("remove default route", unix.RTM_DELROUTE, 0, route(familyOf(v4), 0, unix.RT_TABLE_MAIN, 0, unix.RT_SCOPE_NOWHERE)).
		attr32(unix.RTA_OIF, index)
}

// DefaultDevice sends everything of a family out of a link, without a gateway.
func DefaultDevice(index int, v4 bool) *Request {
	r := newRequest("add default route", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		route(familyOf(v4), 0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, unix.RT_SCOPE_LINK))
	return r.attr32(unix.RTA_OIF, index)
}

// LocalDefault makes every destination local in a table of routes: what is looked
// up there stays in the namespace, on its loopback.
func LocalDefault(family byte, table int) *Request {
	r := newRequest("add local default route", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		route(family, 0, unix.RT_TABLE_UNSPEC, unix.RTN_LOCAL, unix.RT_SCOPE_HOST))
	return r.attr32(unix.RTA_TABLE, table).attr32(unix.RTA_OIF, Loopback)
}

// MarkRule sends packets that carry a mark to a table of routes. A rule that is
// there already is none the worse.
func MarkRule(family byte, mark, table, priority int) *Request {
	const ( // linux/fib_rules.h
		toTable                        = 1 // FR_ACT_TO_TBL
		fraPriority, fraMark, fraTable = 6, 10, 15
	)
	fixed := make([]byte, unix.SizeofRtMsg) // struct fib_rule_hdr
	fixed[0], fixed[7] = family, toTable
	r := newRequest("add routing rule", unix.RTM_NEWRULE, unix.NLM_F_CREATE, fixed)
	return r.attr32(fraPriority, priority).attr32(fraMark, mark).attr32(fraTable, table)
}

// route is struct rtmsg.
func route(family byte, bits int, table, kind, scope byte) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[4], b[5], b[6], b[7] = family, byte(bits), table, unix.RTPROT_BOOT, scope, kind
	return b
}

func family(a netip.Addr) byte { return familyOf(a.Is4()) }

func familyOf(v4 bool) byte {
	if v4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Loopback is the index of lo in every network namespace.
const Loopback = 1

// Index finds a link by name.
func Index(name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("find link %q: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("find link %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("find link %s: %w", name, err)
	}
	return int(req.Uint32()), nil
}

// Submit sends the requests in order and waits for each answer. The first
// error of one that is not soft is returned; those after it were carried out
// all the same.
func Submit(requests ...*Request) error {
	fd, err := Socket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return SubmitOn(fd, requests...)
}

// Socket opens rtnetlink of the calling thread's network namespace.
func Socket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("open netlink: %w", err)
	}
	return fd, nil
}

// SubmitOn is Submit over a socket of any network namespace, one caller at a time.
// The destination is given with every message, and that matters: then the kernel
// asks for the rights of this process, not of the one that opened the socket
// (NETLINK_SKB_DST in net/netlink/af_netlink.c).
func SubmitOn(fd int, requests ...*Request) error {
	var all []byte
	for i, r := range requests {
		binary.NativeEndian.PutUint32(r.msg[0:], uint32(len(r.msg)))
		binary.NativeEndian.PutUint32(r.msg[8:], uint32(i+1))
		all = append(all, r.msg...)
	}
	if err := unix.Sendto(fd, all, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to netlink: %w", err)
	}
	return answers(fd, requests)
}

// answers reads one acknowledgement per request.
func answers(fd int, requests []*Request) (first error) {
	buf := make([]byte, 16<<10)
	for seen := 0; seen < len(requests); {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return fmt.Errorf("read from netlink: %w", err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofNlMsghdr+4; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr+4 || size > len(b) {
				return fmt.Errorf("read from netlink: message of %d bytes in %d", size, len(b))
			}
			kind, seq := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
			if kind == unix.NLMSG_ERROR && seq >= 1 && int(seq) <= len(requests) {
				seen++
				errno := -int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:]))
				if r := requests[seq-1]; errno != 0 && !r.soft && first == nil {
					first = fmt.Errorf("%s: %w", r.what, unix.Errno(errno))
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
	return first
}
