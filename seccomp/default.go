package seccomp

import "golang.org/x/sys/unix"

// Default returns bryo's policy: Docker's default profile with ours on top.
// The first matching rule decides, so ours comes first and what is known and
// refused comes last. What nobody listed does not exist (ENOSYS), so that a
// libc finds its way back to an older call.
//
// docs/seccomp.md explains it and points to the table of every call.
func Default() *Profile {
	rules := make([]Rule, 0, len(ownRules)+len(mobyRules)+1)
	rules = append(rules, ownRules[:]...)
	rules = append(rules, mobyRules[:]...)
	rules = append(rules, Rule{Names: refused[:], Action: Errno, Errno: uint16(unix.EPERM)})
	return &Profile{
		DefaultAction: Errno,
		DefaultErrno:  uint16(unix.ENOSYS),
		ArchMap:       defaultArches[:],
		Rules:         rules,
		FirstMatch:    true,
	}
}

var defaultArches = [...]ArchEntry{
	{Arch: "SCMP_ARCH_X86_64", SubArches: []string{"SCMP_ARCH_X86", "SCMP_ARCH_X32"}},
	{Arch: "SCMP_ARCH_AARCH64", SubArches: []string{"SCMP_ARCH_ARM"}},
}

const (
	eperm      = uint16(unix.EPERM)
	noFamily   = uint16(unix.EAFNOSUPPORT)
	noProtocol = uint16(unix.EPROTONOSUPPORT)

	// int32Mask is the part of a register that the kernel reads where a call
	// takes an int. A comparison with all 64 bits would be passed by with a
	// high bit set (CVE-2019-7303).
	int32Mask = 0xffffffff
	// typeMask is SOCK_TYPE_MASK: the type without SOCK_NONBLOCK and CLOEXEC.
	typeMask = 0xf
	// Types and protocols of AF_INET that x/sys does not name.
	sockPacket = 10  // SOCK_PACKET
	sockDCCP   = 6   // SOCK_DCCP
	protoSMC   = 256 // IPPROTO_SMC
)

// sockets are the calls that make a socket of a family. socketpair counts:
// the kernel creates both ends, and loads the family's module, before it
// finds that the family has no pairs.
var sockets = []string{"socket", "socketpair"}

// ownRules are ours on top of Docker's.
var ownRules = [...]Rule{
	// Typing into the terminal's input queue, and the selection of a virtual
	// console: the ways out of a shared terminal (CVE-2016-2568).
	{Names: []string{"ioctl"}, Action: Errno, Errno: eperm, Args: []Arg{{0x1, MaskedEqual, int32Mask, unix.TIOCSTI}}},
	{Names: []string{"ioctl"}, Action: Errno, Errno: eperm, Args: []Arg{{0x1, MaskedEqual, int32Mask, unix.TIOCLINUX}}},

	// AF_INET with SOCK_PACKET is AF_PACKET by another name.
	{Names: sockets, Action: Errno, Errno: noFamily, Excludes: Condition{Caps: []string{"CAP_NET_RAW"}},
		Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_INET}, {1, MaskedEqual, typeMask, sockPacket}}},
	// DCCP is gone from the kernel (6.16) and was never kept up before. SMC is
	// the refused AF_SMC by another name.
	{Names: sockets, Action: Errno, Errno: noProtocol, Args: []Arg{{1, MaskedEqual, typeMask, sockDCCP}}},
	{Names: sockets, Action: Errno, Errno: noProtocol,
		Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_INET}, {2, MaskedEqual, int32Mask, protoSMC}}},
	{Names: sockets, Action: Errno, Errno: noProtocol,
		Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_INET6}, {2, MaskedEqual, int32Mask, protoSMC}}},
	{Names: sockets, Action: Allow, Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_UNIX}}},
	{Names: sockets, Action: Allow, Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_INET}}},
	{Names: sockets, Action: Allow, Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_INET6}}},
	// tcpdump and DHCP clients; the default capabilities lack CAP_NET_RAW.
	{Names: sockets, Action: Allow, Includes: Condition{Caps: []string{"CAP_NET_RAW"}},
		Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_PACKET}}},
	// nftables, WireGuard and other set-up of networks.
	{Names: sockets, Action: Allow, Includes: Condition{Caps: []string{"CAP_NET_ADMIN"}},
		Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_NETLINK}}},
	{Names: sockets, Action: Allow,
		Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_NETLINK}, {2, MaskedEqual, int32Mask, unix.NETLINK_ROUTE}}},
	// The errno of a kernel without that protocol: PAM, sudo and useradd then
	// go on without the audit subsystem, where EPERM would end them.
	{Names: sockets, Action: Errno, Errno: noProtocol, Args: []Arg{{0, MaskedEqual, int32Mask, unix.AF_NETLINK}}},
	{Names: sockets, Action: Errno, Errno: noFamily},

	// i386 libraries make sockets through socketcall(2), whose family is in
	// memory and cannot be judged. Images for i386 need it. Elsewhere it would
	// only be a way around the rules above.
	{Names: []string{"socketcall"}, Action: Errno, Errno: noFamily, Excludes: Condition{Arches: []string{"x86"}},
		Args: []Arg{{0, MaskedEqual, int32Mask, 1}}}, // SYS_SOCKET
	{Names: []string{"socketcall"}, Action: Errno, Errno: noFamily, Excludes: Condition{Arches: []string{"x86"}},
		Args: []Arg{{0, MaskedEqual, int32Mask, 8}}}, // SYS_SOCKETPAIR

	// Sibling of uretprobe, which Docker allows: a program that the host
	// traces has it written into its code by the kernel.
	{Names: []string{"uprobe"}, Action: Allow},
}
