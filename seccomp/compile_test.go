package seccomp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var modern = Kernel{6, 12}

// dockerCaps are Docker's default capabilities, podmanCaps those of Podman.
var (
	podmanCaps = []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
	dockerCaps = append([]string{"CAP_NET_RAW", "CAP_MKNOD", "CAP_AUDIT_WRITE"}, podmanCaps...)
)

// docker is Docker's own default profile.
func docker() *Profile {
	return &Profile{DefaultAction: Errno, DefaultErrno: eperm, ArchMap: defaultArches[:], Rules: mobyRules[:]}
}

// edgeNumbers are syscall numbers to try on an ABI: all that could be known,
// a few beyond, and the ends of the number space.
func edgeNumbers(a *abi) []uint32 {
	var out []uint32
	for nr := range uint32(1100) {
		out = append(out, nr|a.bit)
	}
	for nr := uint32(0xf0000); nr < 0xf0010; nr++ {
		out = append(out, nr|a.bit)
	}
	return append(out, 0x3fffffff, 0x40000000, 0x400003e7, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff)
}

// vector runs an instruction set of our own making and golang.org/x/net/bpf's
// on the same data and fails when they differ.
func vector(t *testing.T, p Program, vm *bpf.VM, d Data) uint32 {
	t.Helper()
	got := p.Run(d)
	packet := make([]byte, dataSize)
	for off := 0; off < dataSize; off += 4 {
		binary.BigEndian.PutUint32(packet[off:], d.word(uint32(off)))
	}
	want, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	if uint32(want) != got {
		t.Fatalf("simulator says %s, x/net/bpf %s for %+v", VerdictName(got), VerdictName(uint32(want)), d)
	}
	return got
}

func newVM(t *testing.T, p Program) *bpf.VM {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(p))
	for i, in := range p {
		raw[i] = bpf.RawInstruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	list, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("x/net/bpf does not know an instruction")
	}
	vm, err := bpf.NewVM(list)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func mustCompile(t testing.TB, p *Profile, o Options) Program {
	t.Helper()
	program, err := Compile(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// interesting are argument values around everything that a profile of ours
// compares with.
var interesting = []uint64{
	0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 15, 16, 17, 38, 40, 0x5411, 0x5412, 0x5413, 0x541c, 0x20000, 0x20008, 0x40000,
	unix.CLONE_NEWUSER, unix.CLONE_NEWNS, unix.CLONE_NEWNET | 17, unix.CLONE_VM | unix.CLONE_THREAD,
	0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x100000001, 0x100005412, 0x110000002, 0xffffffff00000000,
	0x8000000000000000, 0xffffffffffffffff,
}

func TestProgramAgreesWithReference(t *testing.T) {
	for _, tc := range []struct {
		name    string
		profile *Profile
		o       Options
	}{
		{"default", Default(), Options{Caps: podmanCaps, Arch: "amd64"}},
		{"default 386", Default(), Options{Caps: podmanCaps, Arch: "386"}},
		{"default arm64", Default(), Options{Caps: podmanCaps, Arch: "arm64"}},
		{"default arm", Default(), Options{Caps: podmanCaps, Arch: "arm"}},
		{"default without capabilities", Default(), Options{Arch: "amd64"}},
		{"default with SYS_ADMIN", Default(), Options{Caps: []string{"CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_NET_ADMIN"}, Arch: "amd64"}},
		{"default on an old kernel", Default(), Options{Caps: podmanCaps, Arch: "amd64", Kernel: Kernel{3, 10}}},
		{"docker", docker(), Options{Caps: dockerCaps, Arch: "amd64"}},
		{"docker arm64", docker(), Options{Caps: dockerCaps, Arch: "arm64"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.o.Kernel == (Kernel{}) {
				tc.o.Kernel = modern
			}
			compareAll(t, tc.profile, tc.o, rand.New(rand.NewPCG(1, 2)), 40)
		})
	}
}

// compareAll checks every number of every ABI with random and interesting
// arguments against the reference.
func compareAll(t *testing.T, p *Profile, o Options, rng *rand.Rand, tries int) {
	t.Helper()
	program := mustCompile(t, p, o)
	vm, ref := newVM(t, program), newReference(p, o)
	for i := range abis {
		a := &abis[i]
		for _, nr := range edgeNumbers(a) {
			for range tries {
				d := Data{Nr: nr, Arch: a.audit, IP: rng.Uint64()}
				for j := range d.Args {
					d.Args[j] = interesting[rng.IntN(len(interesting))]
				}
				got := vector(t, program, vm, d)
				if want := ref.decide(d); got != want {
					t.Fatalf("%s nr %d (%s) args %#x: got %s, want %s", a.name, nr, nameOf(a, nr), d.Args, VerdictName(got), VerdictName(want))
				}
			}
		}
	}
}

func nameOf(a *abi, nr uint32) string {
	for _, index := range byNumber[a.id] {
		if n, _ := a.number(int(index)); n == nr {
			return calls[index].name
		}
	}
	return "?"
}

// TestRandomProfiles compiles profiles of random rules, including those that
// need long jumps, and compares them with the reference.
func TestRandomProfiles(t *testing.T) {
	count := 60
	if testing.Short() {
		count = 10
	}
	for seed := range count {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			p := randomProfile(rng)
			arch := []string{"amd64", "386", "arm64", "arm"}[rng.IntN(4)]
			compareAll(t, p, Options{Arch: arch, Kernel: modern, Caps: []string{"CAP_A"}}, rng, 6)
		})
	}
}

func randomProfile(rng *rand.Rand) *Profile {
	actions := []Action{Allow, Errno, KillProcess, KillThread, Trap, Log, Trace}
	p := &Profile{DefaultAction: actions[rng.IntN(len(actions))], FirstMatch: rng.IntN(2) == 0}
	switch rng.IntN(3) {
	case 0:
		p.ArchMap = defaultArches[:]
	case 1:
		p.Architectures = []string{"SCMP_ARCH_X32", "SCMP_ARCH_MIPS"}
	}
	hot := []string{"socket", "clone", "read", "ioctl", "socketcall", "ipc", "connect", "semget"} // several rules each
	for range 5 + rng.IntN(150) {
		r := Rule{Action: actions[rng.IntN(len(actions))]}
		if r.Action == Errno || r.Action == Trace {
			r.Errno = uint16(rng.IntN(maxErrno + 1))
		}
		for range 1 + rng.IntN(4) {
			r.Names = append(r.Names, calls[rng.IntN(len(calls))].name)
		}
		if rng.IntN(4) == 0 {
			r.Names = hot[rng.IntN(len(hot)):][:1]
		}
		for range max(0, rng.IntN(6)-2) {
			r.Args = append(r.Args, Arg{uint8(rng.IntN(6)), Op(1 + rng.IntN(int(MaskedEqual))),
				interesting[rng.IntN(len(interesting))], interesting[rng.IntN(len(interesting))]})
		}
		if rng.IntN(8) == 0 {
			r.Includes.Caps = []string{"CAP_A", "CAP_B"}[rng.IntN(2):][:1]
		}
		if rng.IntN(8) == 0 {
			r.Excludes.Arches = []string{"x86", "amd64", "arm"}[rng.IntN(3):][:1]
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

// TestLargestProfile gives every call several rules, far over what jumps of
// one byte reach, and past the kernel's limit.
func TestLargestProfile(t *testing.T) {
	p := &Profile{DefaultAction: Errno, DefaultErrno: 1}
	for i := range calls {
		p.Rules = append(p.Rules, Rule{Names: []string{calls[i].name}, Action: Allow, Args: []Arg{{Index: 0, Op: EqualTo, Value: uint64(i) << 32}}})
	}
	compareAll(t, p, Options{Arch: "amd64", Kernel: modern}, rand.New(rand.NewPCG(3, 3)), 2)

	p.ArchMap = defaultArches[:]
	p.Rules = append(p.Rules, p.Rules...)
	if _, err := Compile(p, Options{Arch: "amd64", Kernel: modern}); err == nil {
		t.Fatal("a program over the kernel's limit was compiled")
	}
}

// TestOperators checks each comparison at the borders of both words.
func TestOperators(t *testing.T) {
	values := append(slices.Clone(interesting), 0x1_00000000-1, 0x12345678_9abcdef0, 0x12345678_9abcdeef, 0x12345678_9abcdef1, 0x12345677_ffffffff, 0x12345679_00000000)
	for op := EqualTo; op <= MaskedEqual; op++ {
		for _, value := range values {
			for _, two := range []uint64{0, value, 0x12345678_00000000, 1} {
				if op != MaskedEqual && two != 0 {
					continue
				}
				arg := Arg{Index: 3, Op: op, Value: value, ValueTwo: two}
				p := &Profile{DefaultAction: Errno, DefaultErrno: 1, ArchMap: defaultArches[:], Rules: []Rule{{Names: []string{"read"}, Action: Allow, Args: []Arg{arg}}}}
				program := mustCompile(t, p, Options{Arch: "amd64", Kernel: modern})
				for _, a := range []*abi{&abis[abiAMD64], &abis[abiX32], &abis[abi386]} {
					index, _ := lookup("read")
					nr, _ := a.number(index)
					for _, x := range values {
						d := Data{Nr: nr, Arch: a.audit, Args: [6]uint64{3: x}}
						if got := program.Run(d) == uint32(Allow); got != holds(a, arg, d) {
							t.Fatalf("%s: %#x op %d %#x/%#x: got %v", a.name, x, op, value, two, got)
						}
					}
				}
			}
		}
	}
}
