package seccomp

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the published tables anew")

// tableHeader opens each published table.
const tableHeader = "# What bryo's default profile does with each %s syscall, with the default capabilities.\n" +
	"# Numbers that are not listed are answered with ENOSYS. Written by go test -update.\n"

// publishedTables renders the tables of testdata/table, by ABI.
func publishedTables(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]*strings.Builder{}
	for _, arch := range []string{"amd64", "arm64"} {
		rows, err := Table(Default(), Options{Caps: podmanCaps, Arch: arch, Kernel: modern})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if out[r.ABI] == nil {
				out[r.ABI] = new(strings.Builder)
				fmt.Fprintf(out[r.ABI], tableHeader, r.ABI)
			}
			fmt.Fprintf(out[r.ABI], "%-6d %-28s %s\n", r.Nr&^x32Bit, r.Name, r.Verdict)
		}
	}
	text := map[string]string{}
	for name, b := range out {
		text[name] = b.String()
	}
	return text
}

// TestPublishedTable holds the default's decision on every call: a change of
// policy, of the base profile or of the compiler shows up as a diff.
func TestPublishedTable(t *testing.T) {
	for name, got := range publishedTables(t) {
		path := filepath.Join("testdata", "table", name+".txt")
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; run go test -update and read the diff", path)
		}
	}
}

// TestProgramAnswersPublishedTable runs the program that containers get, for
// every number, against the published table.
func TestProgramAnswersPublishedTable(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		program := mustCompile(t, Default(), Options{Caps: podmanCaps, Arch: arch, Kernel: modern})
		for i := range abis {
			a := &abis[i]
			if (arch == "amd64") != (a.id <= abi386) {
				continue
			}
			published := readTable(t, a.name)
			for _, nr := range edgeNumbers(a) {
				want, listed := published[nr&^a.bit]
				if !listed || a.bit != 0 && nr&a.bit == 0 || a.id == abiAMD64 && nr >= x32Bit || nr > 1<<31 {
					want = "errno ENOSYS"
				}
				if a.id == abiAMD64 && nr >= x32Bit && nr < x32Bit+1100 || a.id == abiX32 && nr < x32Bit {
					continue // the sibling's numbers
				}
				got := VerdictName(program.Run(Data{Nr: nr, Arch: a.audit}))
				if strings.HasPrefix(want, "if ") {
					if got == "errno ENOSYS" {
						t.Errorf("%s %d: a call with conditions is answered with ENOSYS", a.name, nr)
					}
					continue
				}
				if got != want {
					t.Errorf("%s %#x: program says %s, table %s", a.name, nr, got, want)
				}
			}
		}
	}
}

func readTable(t *testing.T, name string) map[uint32]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "table", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[uint32]string{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var nr uint32
		var call string
		if _, err := fmt.Sscan(line, &nr, &call); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(strings.TrimSpace(line), " "+call+" ")
		out[nr] = strings.TrimSpace(rest)
	}
	return out
}

// unjudged are the calls that the default leaves at ENOSYS: nothing of
// today's needs them, or the kernel has no code for them any more.
var unjudged = strings.Fields(`
	afs_syscall break create_module epoll_ctl_old epoll_wait_old ftime get_kernel_syms getpmsg gtty idle lock mpx prof
	profil putpmsg query_module security stty tuxcall ulimit vserver olduname oldolduname oldfstat oldlstat oldstat
	bdflush sgetmask ssetmask signal sigaction sigpending sigsuspend nice readdir
	file_getattr file_setattr rseq_slice_yield usr26 usr32 get_tls pciconfig_iobase pciconfig_read pciconfig_write`)

// TestEveryCallIsJudged fails for a syscall that a new table brings until
// someone has decided on it.
func TestEveryCallIsJudged(t *testing.T) {
	judged := slices.Concat(unjudged, refused[:])
	for _, r := range Default().Rules {
		judged = append(judged, r.Names...)
	}
	for _, c := range calls {
		if !slices.Contains(judged, c.name) {
			t.Errorf("%s: decide whether the default allows it, refuses it or leaves it out", c.name)
		}
	}
	for _, name := range refused {
		if _, ok := lookup(name); !ok {
			t.Errorf("refused: %s is no syscall", name)
		}
	}
}

// TestAttackSurface names the calls of the threat model one by one.
func TestAttackSurface(t *testing.T) {
	program := mustCompile(t, Default(), Options{Caps: podmanCaps, Arch: "amd64", Kernel: modern})
	verdictOf := func(a *abi, name string, args ...uint64) string {
		index, ok := lookup(name)
		nr, has := a.number(index)
		if !ok || !has {
			return "absent"
		}
		d := Data{Nr: nr, Arch: a.audit}
		copy(d.Args[:], args)
		return VerdictName(program.Run(d))
	}
	for _, tc := range []struct {
		name string
		args []uint64
		want string
	}{
		{"unshare", []uint64{unix.CLONE_NEWUSER}, "errno EPERM"},
		{"setns", nil, "errno EPERM"},
		{"clone", []uint64{17}, "allow"},
		{"clone", []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, "allow"},
		{"clone", []uint64{unix.CLONE_NEWUSER | 17}, "errno EPERM"},
		{"clone", []uint64{unix.CLONE_NEWNS | 17}, "errno EPERM"},
		{"clone", []uint64{unix.CLONE_NEWNET | 17}, "errno EPERM"},
		{"clone", []uint64{unix.CLONE_NEWPID | 17}, "errno EPERM"},
		{"clone", []uint64{unix.CLONE_NEWCGROUP | 17}, "errno EPERM"},
		{"clone3", nil, "errno ENOSYS"},
		{"mount", nil, "errno EPERM"},
		{"umount2", nil, "errno EPERM"},
		{"pivot_root", nil, "errno EPERM"},
		{"move_mount", nil, "errno EPERM"},
		{"open_tree", nil, "errno EPERM"},
		{"open_tree_attr", nil, "errno EPERM"},
		{"fsopen", nil, "errno EPERM"},
		{"mount_setattr", nil, "errno EPERM"},
		{"keyctl", nil, "errno EPERM"},
		{"add_key", nil, "errno EPERM"},
		{"request_key", nil, "errno EPERM"},
		{"io_uring_setup", nil, "errno EPERM"},
		{"io_uring_enter", nil, "errno EPERM"},
		{"io_uring_register", nil, "errno EPERM"},
		{"bpf", nil, "errno EPERM"},
		{"perf_event_open", nil, "errno EPERM"},
		{"userfaultfd", nil, "errno EPERM"},
		{"kexec_load", nil, "errno EPERM"},
		{"open_by_handle_at", nil, "errno EPERM"},
		{"init_module", nil, "errno EPERM"},
		{"reboot", nil, "errno EPERM"},
		{"clock_settime", nil, "errno EPERM"},
		{"chroot", nil, "allow"},
		{"ioctl", []uint64{0, unix.TIOCSTI}, "errno EPERM"},
		{"ioctl", []uint64{0, unix.TIOCLINUX}, "errno EPERM"},
		{"ioctl", []uint64{0, unix.TIOCSTI | 1<<32}, "errno EPERM"}, // CVE-2019-7303
		{"ioctl", []uint64{0, unix.TIOCLINUX | 0xffffffff<<32}, "errno EPERM"},
		{"ioctl", []uint64{0, unix.TCGETS}, "allow"},
		{"personality", []uint64{0}, "allow"},
		{"personality", []uint64{0xffffffff}, "allow"},
		{"personality", []uint64{0x40000}, "errno EPERM"},
		{"socket", []uint64{unix.AF_UNIX, unix.SOCK_STREAM}, "allow"},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC}, "allow"},
		{"socket", []uint64{unix.AF_INET6, unix.SOCK_STREAM}, "allow"},
		{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, "allow"},
		{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT}, "errno EPROTONOSUPPORT"},
		{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, "errno EPROTONOSUPPORT"},
		{"socket", []uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, "errno EAFNOSUPPORT"},
		{"socket", []uint64{unix.AF_ALG | 1<<32, unix.SOCK_SEQPACKET}, "errno EAFNOSUPPORT"},
		{"socket", []uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, "errno EAFNOSUPPORT"},
		{"socket", []uint64{unix.AF_PACKET, unix.SOCK_RAW}, "errno EAFNOSUPPORT"},
		{"socket", []uint64{unix.AF_INET, sockPacket | unix.SOCK_CLOEXEC}, "errno EAFNOSUPPORT"},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM, protoSMC}, "errno EPROTONOSUPPORT"},
		{"socket", []uint64{unix.AF_INET6, unix.SOCK_STREAM, protoSMC}, "errno EPROTONOSUPPORT"},
		{"socket", []uint64{unix.AF_INET, sockDCCP | unix.SOCK_NONBLOCK}, "errno EPROTONOSUPPORT"},
		{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP}, "allow"},
		{"socket", []uint64{unix.AF_TIPC, unix.SOCK_STREAM}, "errno EAFNOSUPPORT"},
		{"socket", []uint64{0xffffffffffffffff}, "errno EAFNOSUPPORT"},
		{"socketpair", []uint64{unix.AF_UNIX, unix.SOCK_STREAM}, "allow"},
		{"socketpair", []uint64{unix.AF_TIPC, unix.SOCK_STREAM}, "errno EAFNOSUPPORT"},
		{"socketcall", []uint64{1}, "errno EAFNOSUPPORT"},
		{"socketcall", []uint64{8}, "errno EAFNOSUPPORT"},
		{"socketcall", []uint64{1 | 1<<32}, "errno EAFNOSUPPORT"},
		{"socketcall", []uint64{3}, "allow"},
	} {
		t.Run(fmt.Sprintf("%s%#x", tc.name, tc.args), func(t *testing.T) {
			for _, a := range []*abi{&abis[abiAMD64], &abis[abiX32], &abis[abi386]} {
				if got := verdictOf(a, tc.name, tc.args...); got != tc.want && got != "absent" {
					t.Errorf("%s: %s, want %s", a.name, got, tc.want)
				}
			}
		})
	}
}

// TestCapabilitiesOpenCalls checks that a capability added by hand brings its
// calls with it, as with Docker.
func TestCapabilitiesOpenCalls(t *testing.T) {
	for _, tc := range []struct {
		capability string
		call       string
		args       []uint64
	}{
		{"CAP_SYS_ADMIN", "mount", nil},
		{"CAP_SYS_ADMIN", "unshare", nil},
		{"CAP_SYS_ADMIN", "clone3", nil},
		{"CAP_SYS_ADMIN", "clone", []uint64{unix.CLONE_NEWUSER}},
		{"CAP_SYS_ADMIN", "bpf", nil},
		{"CAP_BPF", "bpf", nil},
		{"CAP_PERFMON", "perf_event_open", nil},
		{"CAP_SYS_PTRACE", "pidfd_getfd", nil},
		{"CAP_SYS_TIME", "clock_settime", nil},
		{"CAP_SYS_BOOT", "reboot", nil},
		{"CAP_SYS_NICE", "mbind", nil},
		{"CAP_DAC_READ_SEARCH", "open_by_handle_at", nil},
		{"CAP_NET_RAW", "socket", []uint64{unix.AF_PACKET, unix.SOCK_RAW}},
		{"CAP_NET_RAW", "socket", []uint64{unix.AF_INET, sockPacket}},
		{"CAP_NET_ADMIN", "socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}},
	} {
		t.Run(tc.capability+" "+tc.call, func(t *testing.T) {
			index, _ := lookup(tc.call)
			nr, _ := abis[abiAMD64].number(index)
			d := Data{Nr: nr, Arch: unix.AUDIT_ARCH_X86_64}
			copy(d.Args[:], tc.args)
			without := mustCompile(t, Default(), Options{Caps: podmanCaps, Arch: "amd64", Kernel: modern})
			if got := without.Run(d); lets(got) {
				t.Errorf("allowed without the capability")
			}
			with := mustCompile(t, Default(), Options{Caps: append([]string{tc.capability}, podmanCaps...), Arch: "amd64", Kernel: modern})
			if got := with.Run(d); got != uint32(Allow) {
				t.Errorf("with the capability: %s", VerdictName(got))
			}
		})
	}
}
