package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

const asks = uint32(Notify)

func TestBypassFilter(t *testing.T) {
	amd64, i386, x32 := uint32(unix.AUDIT_ARCH_X86_64), uint32(unix.AUDIT_ARCH_I386), uint32(unix.AUDIT_ARCH_X86_64)
	refused := func(e unix.Errno) uint32 { return uint32(Errno) | uint32(e) }
	high := uint64(1) << 32 // the kernel does not read it where it takes an int
	cases := []struct {
		name string
		arch uint32
		nr   uint32
		args [6]uint64
		want uint32
	}{
		{"socket tcp4", amd64, 41, [6]uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, asks},
		{"socket udp6", amd64, 41, [6]uint64{unix.AF_INET6 | high, unix.SOCK_DGRAM | unix.SOCK_NONBLOCK | high}, asks},
		{"socket unix", amd64, 41, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, uint32(Allow)},
		{"socket raw", amd64, 41, [6]uint64{unix.AF_INET, unix.SOCK_RAW}, uint32(Allow)}, // inside, and without the capability EPERM
		{"connect", amd64, 42, [6]uint64{}, asks},
		{"bind", amd64, 49, [6]uint64{}, asks},
		{"listen", amd64, 50, [6]uint64{}, asks},
		{"send", amd64, 44, [6]uint64{3, 1, 1}, uint32(Allow)},
		{"sendto an address", amd64, 44, [6]uint64{3, 1, 1, 0, 1}, asks},
		{"sendto an address above 4 GiB", amd64, 44, [6]uint64{3, 1, 1, 0, high}, asks},
		{"fast open", amd64, 44, [6]uint64{3, 1, 1, unix.MSG_FASTOPEN | unix.MSG_DONTWAIT, 1}, refused(unix.EOPNOTSUPP)},
		{"sendmsg", amd64, 46, [6]uint64{}, asks},
		{"sendmsg fast open", amd64, 46, [6]uint64{3, 1, unix.MSG_FASTOPEN}, refused(unix.EOPNOTSUPP)},
		{"sendmmsg", amd64, 307, [6]uint64{}, asks},
		{"getsockname", amd64, 51, [6]uint64{}, uint32(Allow)},
		{"write", amd64, 1, [6]uint64{}, uint32(Allow)},
		{"setsockopt nodelay", amd64, 54, [6]uint64{3, unix.IPPROTO_TCP, unix.TCP_NODELAY}, uint32(Allow)},
		{"setsockopt source route", amd64, 54, [6]uint64{3, unix.IPPROTO_IP, unix.IP_OPTIONS | high}, refused(unix.EPERM)},
		{"setsockopt routing header", amd64, 54, [6]uint64{3, unix.IPPROTO_IPV6, unix.IPV6_RTHDR}, refused(unix.EPERM)},
		{"setsockopt routing header of a flow", amd64, 54, [6]uint64{3, unix.IPPROTO_IPV6, 32}, refused(unix.EPERM)},
		{"clone thread", amd64, 56, [6]uint64{unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, uint32(Allow)},
		{"clone shared table", amd64, 56, [6]uint64{unix.CLONE_FILES}, refused(unix.EPERM)},
		{"vfork", amd64, 56, [6]uint64{unix.CLONE_VM | unix.CLONE_VFORK}, uint32(Allow)},
		{"clone3", amd64, 435, [6]uint64{}, enosys},
		{"io_uring", amd64, 425, [6]uint64{}, enosys},
		{"x32 connect", x32, x32Bit | 42, [6]uint64{}, enosys},
		{"x32 sendmsg", x32, x32Bit | 518, [6]uint64{}, enosys},
		{"i386 socketcall connect", i386, 102, [6]uint64{3}, enosys},
		{"i386 connect", i386, 362, [6]uint64{}, enosys},
		{"i386 sendto", i386, 369, [6]uint64{}, enosys},
		{"i386 io_uring", i386, 425, [6]uint64{}, enosys},
	}
	for _, profile := range []struct {
		name string
		p    *Profile
	}{{"default", Default()}, {"unconfined", &Profile{DefaultAction: Allow, ArchMap: defaultArches[:]}}, {"logging", &Profile{DefaultAction: Log, ArchMap: defaultArches[:]}}} {
		program := mustCompile(t, profile.p, Options{Caps: podmanCaps, Arch: "amd64", Kernel: modern, Bypass: BypassOn})
		for _, c := range cases {
			got := program.Run(Data{Nr: c.nr, Arch: c.arch, Args: c.args})
			// What is refused or allowed anyway keeps the profile's own word.
			if c.want == uint32(Allow) && lets(got) && got != asks {
				continue
			}
			if c.want == enosys && !lets(got) && profile.name == "default" {
				continue
			}
			if got != c.want {
				t.Errorf("%s, %s: %s, want %s", profile.name, c.name, VerdictName(got), VerdictName(c.want))
			}
		}
	}
}

// TestBypassKeepsRefusals: what a profile refuses is not opened by asking.
func TestBypassKeepsRefusals(t *testing.T) {
	p := &Profile{DefaultAction: Allow, ArchMap: defaultArches[:], Rules: []Rule{
		{Names: []string{"connect", "socket"}, Action: Errno, Errno: uint16(unix.EACCES)},
	}}
	program := mustCompile(t, p, Options{Arch: "amd64", Kernel: modern, Bypass: BypassOn | BypassNames})
	for nr, want := range map[uint32]uint32{
		41: uint32(Errno) | uint32(unix.EACCES), 42: uint32(Errno) | uint32(unix.EACCES), 49: asks, 51: asks,
	} {
		if got := program.Run(Data{Nr: nr, Arch: unix.AUDIT_ARCH_X86_64, Args: [6]uint64{unix.AF_INET, unix.SOCK_STREAM}}); got != want {
			t.Errorf("call %d: %s, want %s", nr, VerdictName(got), VerdictName(want))
		}
	}
}

func TestBypassIsNotPrecompiled(t *testing.T) {
	plain, err := ForContainer(nil, Options{Caps: podmanCaps}, "")
	if err != nil {
		t.Fatal(err)
	}
	switched, err := ForContainer(nil, Options{Caps: podmanCaps, Bypass: BypassOn}, "")
	if err != nil {
		t.Fatal(err)
	}
	if string(plain.Program) == string(switched.Program) {
		t.Error("the same program with and without bypass")
	}
	if cacheKey(nil, Options{}) == cacheKey(nil, Options{Bypass: BypassOn}) {
		t.Error("the same cache entry with and without bypass")
	}
}

func TestBypassNeedsKernel(t *testing.T) {
	for k, want := range map[Kernel]string{
		{5, 4}:  "it needs kernel 5.9 or newer, and this is 5.4",
		{4, 19}: "it needs kernel 5.9 or newer, and this is 4.19",
		{5, 9}:  "", {6, 12}: "",
	} {
		got := ""
		if err := bypassSupported(k); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%v: %q, want %q", k, got, want)
		}
	}
}
