package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// reference decides calls straight from the profile, without any code of the
// compiler. It knows neither Fake nor Notify.
type reference struct {
	p       *Profile
	o       Options
	applied []Rule
	rules   map[string][]Rule // the applied ones by the names in them
	names   [abiCount]map[uint32][]string
	highest [abiCount]uint32
}

func newReference(p *Profile, o Options) *reference {
	ref := &reference{p: p, o: o, rules: map[string][]Rule{}}
	for _, r := range p.Rules {
		if !referenceApplies(r, o) {
			continue
		}
		ref.applied = append(ref.applied, r)
		for _, n := range r.Names {
			ref.rules[n] = append(ref.rules[n], r)
		}
	}
	for i := range abis {
		a := &abis[i]
		ref.names[i] = map[uint32][]string{}
		for _, c := range calls {
			if c.nr[i] == absent {
				continue
			}
			nr := uint32(c.nr[i]) | a.bit
			ref.names[i][nr] = append(ref.names[i][nr], c.name)
			if ref.named(a, c.name) {
				ref.highest[i] = max(ref.highest[i], nr)
			}
		}
	}
	return ref
}

// named reports whether a rule that applies names the call, directly or,
// through one of its parts, as a multiplexer.
func (ref *reference) named(a *abi, name string) bool {
	if len(ref.rules[name]) > 0 {
		return true
	}
	for _, m := range muxCalls {
		if !a.mux || ref.p.FirstMatch || m.via != name {
			continue
		}
		for _, r := range ref.rules[m.name] {
			if len(r.Args) == 0 || !letsThrough(r.Action) {
				return true
			}
		}
	}
	return false
}

func letsThrough(a Action) bool { return a == Allow || a == Log || a == Trace || a == Notify }

func (ref *reference) decide(d Data) uint32 {
	a := referenceABI(ref.p, ref.o, d)
	if a == nil {
		if d.Arch == unix.AUDIT_ARCH_X86_64 && (ref.o.Arch == "amd64" || ref.o.Arch == "386") {
			return enosys // x32 not covered
		}
		return uint32(KillProcess)
	}
	fallback := uint32(ref.p.DefaultAction) | uint32(ref.p.DefaultErrno)
	names := ref.names[a.id][d.Nr]
	if len(names) == 0 || d.Nr > ref.highest[a.id] {
		if letsThrough(ref.p.DefaultAction) {
			return fallback
		}
		return enosys
	}
	return ref.judge(a, names, d, fallback)
}

func referenceABI(p *Profile, o Options, d Data) *abi {
	listed := map[string]bool{}
	for _, s := range p.Architectures {
		listed[s] = true
	}
	main := map[string]string{"amd64": "SCMP_ARCH_X86_64", "386": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64", "arm": "SCMP_ARCH_AARCH64"}[o.Arch]
	listed[main] = true
	if o.Arch == "386" {
		listed["SCMP_ARCH_X86"] = true
	}
	if o.Arch == "arm" {
		listed["SCMP_ARCH_ARM"] = true
	}
	for _, e := range p.ArchMap {
		if e.Arch == main {
			for _, s := range e.SubArches {
				listed[s] = true
			}
		}
	}
	for i := range abis {
		a := &abis[i]
		if !listed[a.scmp] || a.audit != d.Arch || (a.id <= abi386) != (main == "SCMP_ARCH_X86_64") {
			continue
		}
		if d.Arch == unix.AUDIT_ARCH_X86_64 && (d.Nr >= x32Bit) != (a.id == abiX32) {
			continue
		}
		return a
	}
	return nil
}

func referenceApplies(r Rule, o Options) bool {
	tokens := map[string][]string{"amd64": {"amd64"}, "386": {"amd64", "x86"}, "arm64": {"arm64"}, "arm": {"arm64", "arm"}}[o.Arch]
	has := func(list []string, s string) bool { return slices.Contains(list, s) }
	later := func(k Kernel) bool {
		return int(o.Kernel.Major)*1000+int(o.Kernel.Minor) >= int(k.Major)*1000+int(k.Minor)
	}
	for _, c := range r.Excludes.Caps {
		if has(o.Caps, c) {
			return false
		}
	}
	for _, a := range r.Excludes.Arches {
		if has(tokens, a) {
			return false
		}
	}
	if r.Excludes.MinKernel.Major > 0 && later(r.Excludes.MinKernel) {
		return false
	}
	for _, c := range r.Includes.Caps {
		if !has(o.Caps, c) {
			return false
		}
	}
	found := len(r.Includes.Arches) == 0
	for _, a := range r.Includes.Arches {
		found = found || has(tokens, a)
	}
	return found && later(r.Includes.MinKernel)
}

func (ref *reference) judge(a *abi, names []string, d Data, fallback uint32) uint32 {
	var list []Rule
	for _, r := range ref.applied { // in profile order, whatever the name
		for _, n := range r.Names {
			if slices.Contains(names, n) {
				list = append(list, r)
			}
		}
	}
	if a.mux && !ref.p.FirstMatch {
		list = append(list, ref.muxed(names)...)
	}
	var always, some []uint32
	for _, r := range list {
		v := uint32(r.Action) | uint32(r.Errno)
		switch {
		case ref.p.FirstMatch && allHold(a, r.Args, d):
			return v
		case ref.p.FirstMatch, v == fallback:
		case len(r.Args) == 0:
			always = append(always, v)
		case repeats(r.Args) && anyHolds(a, r.Args, d), !repeats(r.Args) && allHold(a, r.Args, d):
			some = append(some, v)
		}
	}
	return append(append(always, some...), fallback)[0]
}

// muxed are the rules for the parts of a multiplexer.
func (ref *reference) muxed(names []string) []Rule {
	var out []Rule
	for _, r := range ref.applied {
		for _, n := range r.Names {
			m, ok := findMux(n)
			if !ok || !slices.Contains(names, m.via) || len(r.Args) > 0 && letsThrough(r.Action) {
				continue
			}
			mask := uint64(0xffffffff)
			if m.via == "ipc" {
				mask = 0xffff
			}
			r.Args = []Arg{{0, MaskedEqual, mask, m.code}}
			out = append(out, r)
		}
	}
	return out
}

func repeats(args []Arg) bool {
	count := map[uint8]int{}
	for _, a := range args {
		if count[a.Index]++; count[a.Index] > 1 {
			return true
		}
	}
	return false
}

func allHold(ab *abi, args []Arg, d Data) bool {
	for _, a := range args {
		if !holds(ab, a, d) {
			return false
		}
	}
	return true
}

func anyHolds(ab *abi, args []Arg, d Data) bool {
	for _, a := range args {
		if holds(ab, a, d) {
			return true
		}
	}
	return false
}

func holds(ab *abi, a Arg, d Data) bool {
	x, v, w := d.Args[a.Index], a.Value, a.ValueTwo
	if ab.narrow {
		x, v, w = uint64(uint32(x)), uint64(uint32(v)), uint64(uint32(w))
	}
	switch a.Op {
	case EqualTo:
		return x == v
	case NotEqual:
		return x != v
	case LessThan:
		return x < v
	case LessEqual:
		return x <= v
	case GreaterThan:
		return x > v
	case GreaterEqual:
		return x >= v
	}
	return x&v == w&v
}
