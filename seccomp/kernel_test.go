package seccomp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// buildProbe compiles testdata/probe.c, which loads a filter and issues calls
// through all three ABIs of an amd64 kernel.
func buildProbe(t *testing.T) string {
	t.Helper()
	if hostArch != "amd64" {
		t.Skip("the probe is written for amd64")
	}
	out := filepath.Join(t.TempDir(), "probe")
	if text, err := exec.Command("gcc", "-static", "-O1", "-o", out, "testdata/probe.c").CombinedOutput(); err != nil {
		t.Skipf("no gcc or no static libc: %v: %.200s", err, text)
	}
	return out
}

// filterFile writes a container's filter as the loader gets it.
func filterFile(t *testing.T, o Options) string {
	t.Helper()
	f, err := ForContainer(nil, o, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "filter.bpf")
	if err := os.WriteFile(path, f.Program, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// kernelCall is a call for the probe.
type kernelCall struct {
	abi  string
	nr   uint32 // without the x32 bit
	args [6]uint64
}

// probeCalls returns what the kernel answered, e.g. "0", "-1", "signal 31".
func probeCalls(t *testing.T, probe, filter string, list []kernelCall) []string {
	t.Helper()
	var in strings.Builder
	for _, c := range list {
		fmt.Fprintf(&in, "%s %d", c.abi, c.nr)
		for _, a := range c.args {
			fmt.Fprintf(&in, " %d", int64(a))
		}
		in.WriteString("\n")
	}
	cmd := exec.Command(probe, filter, "call")
	cmd.Stdin = strings.NewReader(in.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(list) {
		t.Fatalf("%d answers to %d calls", len(lines), len(list))
	}
	return lines
}

func callNumber(t *testing.T, id abiID, name string) uint32 {
	t.Helper()
	index, ok := lookup(name)
	if !ok || calls[index].nr[id] == absent {
		t.Fatalf("%s has no %s", abis[id].name, name)
	}
	return uint32(calls[index].nr[id])
}

// TestKernelAnswersPublishedTable issues every call that the table refuses,
// and every number that it does not list, through every ABI.
func TestKernelAnswersPublishedTable(t *testing.T) {
	probe := buildProbe(t)
	filter := filterFile(t, Options{Caps: podmanCaps})
	var list []kernelCall
	var want []string
	for _, id := range []abiID{abiAMD64, abiX32, abi386} {
		published := readTable(t, abis[id].name)
		for nr := range uint32(600) {
			verdict, listed := published[nr]
			if !listed {
				verdict = "errno ENOSYS"
			}
			if !strings.HasPrefix(verdict, "errno ") {
				continue // allowed, or a matter of arguments
			}
			list = append(list, kernelCall{abis[id].name, nr, [6]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}})
			want = append(want, strconv.Itoa(-int(errnoByName(t, strings.TrimPrefix(verdict, "errno ")))))
		}
	}
	for _, nr := range []uint32{999, 0x7fffffff, 0x80000000, 0xffffffff} {
		list = append(list, kernelCall{"amd64", nr, [6]uint64{}}, kernelCall{"386", nr, [6]uint64{}})
		want = append(want, "-38", "-38")
	}
	for i, got := range probeCalls(t, probe, filter, list) {
		if got != want[i] {
			t.Errorf("%s %d: kernel answered %s, want %s", list[i].abi, list[i].nr, got, want[i])
		}
	}
}

func errnoByName(t *testing.T, name string) unix.Errno {
	t.Helper()
	for e := unix.Errno(1); e < 200; e++ {
		if unix.ErrnoName(e) == name {
			return e
		}
	}
	t.Fatalf("no errno %s", name)
	return 0
}

// TestKernelJudgesArguments issues the calls whose arguments decide.
func TestKernelJudgesArguments(t *testing.T) {
	probe := buildProbe(t)
	filter := filterFile(t, Options{Caps: podmanCaps})
	const (
		eperm = "-1"
		fd    = "a descriptor"
		noFam = "-97"
		noPro = "-93"
		fault = "-14"
		badFD = "-9"
	)
	high := uint64(1) << 32
	for _, tc := range []struct {
		abi  abiID
		call string
		args []uint64
		want string
	}{
		{abiAMD64, "socket", []uint64{unix.AF_UNIX, unix.SOCK_STREAM, 0}, fd},
		{abiAMD64, "socket", []uint64{unix.AF_INET, unix.SOCK_STREAM, 0}, fd},
		{abiAMD64, "socket", []uint64{unix.AF_INET6, unix.SOCK_DGRAM, 0}, fd},
		{abiAMD64, "socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, fd},
		{abiAMD64, "socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT}, noPro},
		{abiAMD64, "socket", []uint64{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, noFam},
		{abiAMD64, "socket", []uint64{unix.AF_ALG + high, unix.SOCK_SEQPACKET, 0}, noFam},
		{abiAMD64, "socket", []uint64{unix.AF_INET + high, unix.SOCK_STREAM, 0}, fd},
		{abiAMD64, "socket", []uint64{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, noFam},
		{abiAMD64, "socket", []uint64{unix.AF_PACKET, unix.SOCK_RAW, 0}, noFam},
		{abi386, "socket", []uint64{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, noFam},
		{abi386, "socket", []uint64{unix.AF_ALG + high, unix.SOCK_SEQPACKET, 0}, noFam},
		{abi386, "socket", []uint64{unix.AF_INET + high, unix.SOCK_STREAM, 0}, fd},
		{abi386, "socketcall", []uint64{1, 0}, noFam},
		{abi386, "socketcall", []uint64{1 + high, 0}, noFam},
		{abi386, "socketcall", []uint64{8, 0}, noFam},
		{abi386, "socketcall", []uint64{3, 0}, fault},
		{abiAMD64, "ioctl", []uint64{^uint64(0), unix.TIOCSTI}, eperm},
		{abiAMD64, "ioctl", []uint64{^uint64(0), unix.TIOCSTI + high}, eperm},
		{abiAMD64, "ioctl", []uint64{^uint64(0), unix.TIOCLINUX}, eperm},
		{abiAMD64, "ioctl", []uint64{^uint64(0), unix.TCGETS}, badFD},
		{abi386, "ioctl", []uint64{^uint64(0), unix.TIOCSTI}, eperm},
		{abi386, "ioctl", []uint64{^uint64(0), unix.TIOCSTI + high}, eperm},
		{abi386, "ioctl", []uint64{^uint64(0), unix.TCGETS}, badFD},
		{abiAMD64, "clone", []uint64{unix.CLONE_NEWUSER | 17}, eperm},
		{abiAMD64, "clone", []uint64{(unix.CLONE_NEWUSER | 17) + high}, eperm},
		{abi386, "clone", []uint64{unix.CLONE_NEWUSER | 17}, eperm},
		{abiAMD64, "personality", []uint64{0x40000}, eperm},
		{abiAMD64, "personality", []uint64{0xffffffff}, "0"},
		{abiAMD64, "getppid", nil, fd},
		{abi386, "getppid", nil, fd},
	} {
		c := kernelCall{abi: abis[tc.abi].name, nr: callNumber(t, tc.abi, tc.call)}
		copy(c.args[:], tc.args)
		got := probeCalls(t, probe, filter, []kernelCall{c})[0]
		if tc.want == fd && !strings.HasPrefix(got, "-") && !strings.HasPrefix(got, "signal") {
			continue
		}
		if got != tc.want {
			t.Errorf("%s %s %#x: kernel answered %s, want %s", abis[tc.abi].name, tc.call, tc.args, got, tc.want)
		}
	}
}

// TestKernelWithoutFilter shows that the refusals above are the filter's: an
// empty profile lets the same calls reach the kernel.
func TestKernelWithoutFilter(t *testing.T) {
	probe := buildProbe(t)
	program := mustCompile(t, &Profile{DefaultAction: Allow, ArchMap: defaultArches[:]}, Options{Arch: "amd64"})
	path := filepath.Join(t.TempDir(), "allow.bpf")
	if err := os.WriteFile(path, program.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got := probeCalls(t, probe, path, []kernelCall{
		{"amd64", callNumber(t, abiAMD64, "ioctl"), [6]uint64{^uint64(0), unix.TIOCSTI}},
		{"386", callNumber(t, abi386, "ioctl"), [6]uint64{^uint64(0), unix.TIOCSTI}},
		{"386", callNumber(t, abi386, "socketcall"), [6]uint64{1, 0}},
		{"amd64", callNumber(t, abiAMD64, "keyctl"), [6]uint64{^uint64(0)}},
	})
	for i, want := range []string{"-9", "-9", "-14", "-95"} {
		if got[i] != want {
			t.Errorf("call %d: %s, want %s", i, got[i], want)
		}
	}
}

// TestUncoveredABI checks that an ABI that a profile does not list is shut.
func TestUncoveredABI(t *testing.T) {
	probe := buildProbe(t)
	program := mustCompile(t, &Profile{DefaultAction: Allow}, Options{Arch: "amd64"})
	path := filepath.Join(t.TempDir(), "native.bpf")
	if err := os.WriteFile(path, program.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got := probeCalls(t, probe, path, []kernelCall{
		{"386", callNumber(t, abi386, "getppid"), [6]uint64{}},
		{"x32", callNumber(t, abiX32, "getppid"), [6]uint64{}},
	})
	if got[0] != "signal 31" || got[1] != "-38" {
		t.Errorf("386 and x32 answered %s and %s, want signal 31 (SIGSYS) and -38", got[0], got[1])
	}
}
