package seccomp

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// buildOracle compiles testdata/oracle.c, which makes filters with libseccomp
// as runc does.
func buildOracle(t *testing.T) string {
	t.Helper()
	if hostArch != "amd64" {
		t.Skip("the oracle is set up for amd64")
	}
	out := filepath.Join(t.TempDir(), "oracle")
	text, err := exec.Command("gcc", "-o", out, "testdata/oracle.c", "-lseccomp").CombinedOutput()
	if err != nil {
		t.Skipf("no gcc or no libseccomp-dev: %v: %.200s", err, text)
	}
	return out
}

// oracle is what libseccomp makes of a profile.
type oracle struct {
	program Program
	unknown map[string]bool // names that this libseccomp lacks
}

func askOracle(t *testing.T, binary string, p *Profile, o Options) (oracle, error) {
	t.Helper()
	m, err := machineFor(o.Arch)
	if err != nil {
		t.Fatal(err)
	}
	var in strings.Builder
	for _, id := range m.covered(p) {
		fmt.Fprintf(&in, "arch %s\n", map[abiID]string{abiAMD64: "x86_64", abiX32: "x32", abi386: "x86"}[id])
	}
	for _, r := range selectRules(p.Rules, o, m) {
		writeOracleRule(&in, p, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, fmt.Sprintf("%x", verdict(p.DefaultAction, p.DefaultErrno)))
	cmd.Stdin = strings.NewReader(in.String())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return oracle{}, fmt.Errorf("%w: %s", err, stderr.String())
	}
	out := oracle{unknown: map[string]bool{}}
	for _, name := range strings.Fields(stderr.String()) {
		out.unknown[name] = true
	}
	out.program = rawProgram(stdout.Bytes())
	return out, nil
}

// writeOracleRule does what runc does before it calls libseccomp: no rules
// with the default action, and conditions on one argument as alternatives.
func writeOracleRule(in *strings.Builder, p *Profile, r Rule) {
	v := verdict(r.Action, r.Errno)
	if v == verdict(p.DefaultAction, p.DefaultErrno) {
		return
	}
	groups := [][]Arg{r.Args}
	if repeats(r.Args) {
		groups = nil
		for i := range r.Args {
			groups = append(groups, r.Args[i:i+1])
		}
	}
	for _, name := range r.Names {
		for _, g := range groups {
			fmt.Fprintf(in, "rule %x %s %d", v, name, len(g))
			for _, a := range g {
				fmt.Fprintf(in, " %d %d %x %x", a.Index, a.Op, a.Value, a.ValueTwo)
			}
			in.WriteString("\n")
		}
	}
}

// rawProgram reads libseccomp's output, which has codes that check refuses.
func rawProgram(b []byte) Program {
	var p Program
	for ; len(b) >= insSize; b = b[insSize:] {
		p = append(p, unix.SockFilter{Code: uint16(b[0]) | uint16(b[1])<<8, Jt: b[2], Jf: b[3],
			K: uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24})
	}
	return p
}

// compareOracle checks every number and many arguments. Differences by design
// are left out here and named in docs/seccomp.md:
//   - numbers that are unknown, or above all that the profile names: ENOSYS
//   - x32 calls, of whose arguments libseccomp sees the low half only
//   - socketcall and ipc, where argument rules cannot be carried over
func compareOracle(t *testing.T, binary string, p *Profile, o Options, rng *rand.Rand, tries int) {
	t.Helper()
	theirs, err := askOracle(t, binary, p, o)
	if err != nil {
		t.Fatal(err)
	}
	ours := mustCompile(t, p, o)
	ref := newReference(p, o)
	m, _ := machineFor(o.Arch)
	compared := 0
	for _, id := range m.covered(p) {
		a := &abis[id]
		for _, index := range byNumber[id] {
			nr, _ := a.number(int(index))
			name := calls[index].name
			if nr > ref.highest[id] || theirs.unknown[name] || a.mux && (name == "socketcall" || name == "ipc") ||
				id == abiX32 && wide(ref.rules[name]) {
				continue
			}
			for range tries {
				d := Data{Nr: nr, Arch: a.audit}
				for j := range d.Args {
					d.Args[j] = interesting[rng.IntN(len(interesting))]
					if a.narrow || id == abiX32 {
						d.Args[j] = uint64(uint32(d.Args[j]))
					}
				}
				got, want := ours.Run(d), theirs.program.Run(d)
				if got != want {
					t.Fatalf("%s %s args %#x: ours %s, libseccomp %s; rules:%s", a.name, name, d.Args, VerdictName(got), VerdictName(want), describeRules(ref.rules[name]))
				}
				compared++
			}
		}
	}
	if compared < 1000 {
		t.Fatalf("only %d calls were compared", compared)
	}
}

func TestAgreesWithLibseccomp(t *testing.T) {
	binary := buildOracle(t)
	for _, tc := range []struct {
		name string
		o    Options
	}{
		{"docker's profile, docker's capabilities", Options{Caps: dockerCaps}},
		{"docker's profile, no capabilities", Options{}},
		{"docker's profile, many capabilities", Options{Caps: []string{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_BOOT", "CAP_SYS_NICE"}}},
		{"docker's profile, old kernel", Options{Caps: dockerCaps, Kernel: Kernel{4, 4}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Arch = "amd64"
			if tc.o.Kernel == (Kernel{}) {
				tc.o.Kernel = modern
			}
			compareOracle(t, binary, docker(), tc.o, rand.New(rand.NewPCG(5, 6)), 200)
		})
	}
	for seed := range 100 {
		t.Run(fmt.Sprintf("random profile %d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 9))
			compareOracle(t, binary, plainProfile(rng), Options{Arch: "amd64", Kernel: modern}, rng, 30)
		})
	}
}

// plainProfile is a random profile within what libseccomp gets right. One
// action per syscall: which of several wins is nothing that it promises. And
// no two rules of one call with inequalities: version 2.5.4 loses matches
// there (args[0] > 5 or args[0] < 2^32-1 does not match 2^32, for example).
func plainProfile(rng *rand.Rand) *Profile {
	p := &Profile{DefaultAction: []Action{Allow, Errno}[rng.IntN(2)], ArchMap: defaultArches[:]}
	for _, i := range rng.Perm(len(calls))[:100] {
		c := calls[i]
		if _, mux := findMux(c.name); mux && c.nr[abi386] != absent {
			continue
		}
		action := Action(Errno)
		if p.DefaultAction == Errno {
			action = Allow
		}
		r := Rule{Names: []string{c.name}, Action: action, Errno: 0}
		if action == Errno {
			r.Errno = uint16(1 + rng.IntN(100))
		}
		if rng.IntN(2) == 0 {
			for range rng.IntN(4) { // distinct arguments, any comparison
				a := Arg{uint8(len(r.Args)), Op(1 + rng.IntN(int(MaskedEqual))), interesting[rng.IntN(len(interesting))], interesting[rng.IntN(len(interesting))]}
				r.Args = append(r.Args, a)
			}
			p.Rules = append(p.Rules, r)
			continue
		}
		for range 1 + rng.IntN(4) { // several rules
			r.Args = []Arg{{Index: uint8(rng.IntN(2)), Op: EqualTo, Value: interesting[rng.IntN(len(interesting))]}}
			p.Rules = append(p.Rules, r)
		}
	}
	return p
}

// wide reports a comparison with more than 32 bits.
func wide(rules []Rule) bool {
	for _, r := range rules {
		for _, a := range r.Args {
			if a.Value>>32 != 0 || a.Op == MaskedEqual && a.ValueTwo>>32 != 0 {
				return true
			}
		}
	}
	return false
}

func describeRules(rules []Rule) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "\n\t%v -> %s", r.Args, VerdictName(verdict(r.Action, r.Errno)))
	}
	return b.String()
}
