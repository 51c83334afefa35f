package stack

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A request is one rtnetlink message in the making: header, fixed part and
// attributes. Attaching a container needs eight messages, sent in one go;
// a netlink library costs more start-up time than this file.
type request struct {
	what string // for errors
	msg  []byte
	// soft requests may fail: a host without IPv6 still has a network.
	soft   bool
	family byte
}

func newRequest(what string, kind, flags uint16, fixed []byte) *request {
	r := &request{what: what, msg: make([]byte, unix.SizeofNlMsghdr, 128)}
	binary.NativeEndian.PutUint16(r.msg[4:], kind)
	binary.NativeEndian.PutUint16(r.msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	r.msg = append(r.msg, fixed...)
	return r
}

func (r *request) attr(kind uint16, value []byte) *request {
	r.msg = binary.NativeEndian.AppendUint16(r.msg, uint16(4+len(value)))
	r.msg = binary.NativeEndian.AppendUint16(r.msg, kind)
	r.msg = append(r.msg, value...)
	for len(r.msg)%4 != 0 {
		r.msg = append(r.msg, 0)
	}
	return r
}

func (r *request) attr32(kind uint16, v uint32) *request {
	return r.attr(kind, binary.NativeEndian.AppendUint32(nil, v))
}

// noLinkLocal keeps the kernel from making up a link-local IPv6 address, which
// would come with router solicitations and multicast reports to nobody.
func noLinkLocal(index int) *request {
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	fixed := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(fixed[4:], uint32(index))
	r := newRequest("turn link-local addresses off", unix.RTM_NEWLINK, 0, fixed)
	r.family = unix.AF_INET6
	return r.attr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, attribute(unix.AF_INET6|unix.NLA_F_NESTED, attribute(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{none})))
}

// attribute is one attribute on its own, to be nested in another.
func attribute(kind uint16, value []byte) []byte {
	r := request{}
	return r.attr(kind, value).msg
}

// linkUp sets a link up, with an MTU (0: as it is).
func linkUp(index int, mtu int) *request {
	fixed := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(fixed[4:], uint32(index))
	binary.NativeEndian.PutUint32(fixed[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(fixed[12:], unix.IFF_UP)
	r := newRequest("set link up", unix.RTM_NEWLINK, 0, fixed)
	if mtu != 0 {
		r.attr32(unix.IFLA_MTU, uint32(mtu))
	}
	return r
}

// addAddress gives a link an address, at once usable (no duplicate address
// detection: nobody else is on this link).
func addAddress(index int, p netip.Prefix) *request {
	fixed := make([]byte, unix.SizeofIfAddrmsg)
	fixed[0] = family(p.Addr())
	fixed[1] = byte(p.Bits())
	fixed[2] = unix.IFA_F_NODAD
	binary.NativeEndian.PutUint32(fixed[4:], uint32(index))
	r := newRequest("add address "+p.String(), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fixed)
	r.family = fixed[0]
	r.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
	return r.attr(unix.IFA_ADDRESS, p.Addr().AsSlice())
}

// addDefaultRoute sends everything of the gateway's family over a link.
func addDefaultRoute(index int, gateway netip.Addr) *request {
	fixed := make([]byte, unix.SizeofRtMsg)
	fixed[0] = family(gateway)
	fixed[4] = unix.RT_TABLE_MAIN
	fixed[5] = unix.RTPROT_BOOT
	fixed[6] = unix.RT_SCOPE_UNIVERSE
	fixed[7] = unix.RTN_UNICAST
	r := newRequest("add default route via "+gateway.String(), unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fixed)
	r.family = fixed[0]
	r.attr(unix.RTA_GATEWAY, gateway.AsSlice())
	return r.attr32(unix.RTA_OIF, uint32(index))
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// submit sends the requests in order and waits for each answer. It runs on a
// thread in the namespace that they are about.
func submit(requests ...*request) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer unix.Close(fd)
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

// answers reads one acknowledgement per request; the first that is an error
// wins.
func answers(fd int, requests []*request) error {
	buf := make([]byte, 8192)
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
				if errno := -int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); errno != 0 && !requests[seq-1].soft {
					return fmt.Errorf("%s: %w", requests[seq-1].what, unix.Errno(errno))
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
	return nil
}
