package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Bypass makes a filter hand the calls that give a socket its other end to a
// Listener, where the profile allows them. It is for containers whose sockets
// are the host's: package network/bypass answers the calls.
//
// What cannot be judged by user space without being judged by memory of the
// caller is taken away, whatever the profile says:
//   - io_uring, which makes such calls without the filter seeing them;
//   - clone3, whose flags are in memory, and clone with a descriptor table that
//     is shared outside of the thread group: the listener counts threads to know
//     whether a descriptor can be exchanged under a call;
//   - the calls by other ABIs than the machine's own, socketcall(2) among them;
//   - options of sockets that send packets elsewhere than to the address that
//     was judged (source routes), and connects hidden in a send (TCP fast open).
type Bypass uint8

const (
	// BypassOn is all of that.
	BypassOn Bypass = 1 << iota
	// BypassNames asks for getsockname too: published ports have another
	// number on the host.
	BypassNames
)

// BypassSupported says what the running kernel lacks for it; nil: nothing.
func BypassSupported() error {
	k, err := runningKernel()
	if err != nil {
		return err
	}
	return bypassSupported(k)
}

// bypassSupported: SECCOMP_IOCTL_NOTIF_ADDFD came with Linux 5.9.
func bypassSupported(k Kernel) error {
	if !k.atLeast(Kernel{5, 9}) {
		return fmt.Errorf("it needs kernel 5.9 or newer, and this is %d.%d", k.Major, k.Minor)
	}
	return nil
}

// judged are the calls whose arguments say all that matters is in the listener.
var judged = [...]string{"connect", "bind", "listen", "sendmsg", "sendmmsg"}

// hidden are calls that do what the judged ones do and cannot be looked into.
var hidden = [...]string{"io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "socketcall"}

// Values of <linux/in6.h> and <linux/tcp.h> that x/sys does not name for us all.
const (
	ipv6RTHDR2292     = 5
	ipv6Options2292   = 6
	tcpFastOpenOption = 30
	// ipv6FlowLabels attaches routing headers to a flow label, and a packet that bears
	// the label has them.
	ipv6FlowLabels = 32
)

// steering are the socket options that change where packets go.
var steering = [...]struct{ level, name uint64 }{
	{unix.IPPROTO_IP, unix.IP_OPTIONS},
	{unix.IPPROTO_IPV6, ipv6RTHDR2292}, {unix.IPPROTO_IPV6, ipv6Options2292},
	{unix.IPPROTO_IPV6, unix.IPV6_RTHDR}, {unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS}, {unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS},
	{unix.IPPROTO_IPV6, ipv6FlowLabels}, {unix.IPPROTO_TCP, tcpFastOpenOption},
}

// bypass rewrites the policy of one ABI.
func (pol *policy) bypass(b Bypass) {
	if b&BypassOn == 0 {
		return
	}
	for _, name := range hidden {
		pol.refuse(name, enosys)
	}
	const sharedTable = unix.CLONE_FILES | unix.CLONE_THREAD
	pol.refuse("clone", uint32(Errno)|uint32(unix.EPERM), Arg{0, MaskedEqual, sharedTable, unix.CLONE_FILES})
	for _, option := range steering {
		pol.refuse("setsockopt", uint32(Errno)|uint32(unix.EPERM),
			Arg{1, MaskedEqual, int32Mask, option.level}, Arg{2, MaskedEqual, int32Mask, option.name})
	}
	if pol.abi.id != abiAMD64 && pol.abi.id != abiARM64 {
		for _, name := range append(judged[:], "sendto") {
			pol.refuse(name, enosys)
		}
		return
	}
	pol.notifySockets()
	for _, name := range judged {
		pol.ask(name)
	}
	if b&BypassNames != 0 {
		pol.ask("getsockname")
	}
	pol.ask("sendto", Arg{4, NotEqual, 0, 0})
	for _, send := range []struct {
		name  string
		flags uint8
	}{{"sendto", 3}, {"sendmsg", 2}, {"sendmmsg", 3}} {
		pol.refuse(send.name, uint32(Errno)|uint32(unix.EOPNOTSUPP), Arg{send.flags, MaskedEqual, unix.MSG_FASTOPEN, unix.MSG_FASTOPEN})
	}
}

// notifySockets hands over the making of TCP and UDP sockets. Those of other
// families and types never leave the container.
func (pol *policy) notifySockets() {
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, kind := range []uint64{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			pol.ask("socket", Arg{0, MaskedEqual, int32Mask, family}, Arg{1, MaskedEqual, typeMask, kind})
		}
	}
}

// ask hands a call to user space where the conditions hold.
func (pol *policy) ask(name string, when ...Arg) { pol.instead(name, uint32(Notify), when) }

// refuse answers a call with an error where the conditions hold.
func (pol *policy) refuse(name string, errno uint32, when ...Arg) { pol.instead(name, errno, when) }

// instead gives a call another verdict where the profile would have let it happen
// and the conditions hold. What the profile refuses stays refused.
func (pol *policy) instead(name string, verdict uint32, when []Arg) {
	index, _ := lookup(name)
	nr, ok := pol.abi.number(index)
	if !ok {
		return
	}
	pol.rewrite(nr, func(c clause) []clause {
		if !lets(c.verdict) {
			return []clause{c}
		}
		other := clause{when: append(slices.Clone(c.when), when...), verdict: verdict}
		if len(when) == 0 {
			return []clause{other}
		}
		return []clause{other, c}
	})
}
