package seccomp

import (
	"fmt"
	"slices"
	"strings"
)

// Options say for which container a profile is compiled.
type Options struct {
	// Caps is the bounding set, e.g. "CAP_CHOWN"; rules ask for it.
	Caps []string
	// Arch is the architecture of the image as GOARCH; "" is bryo's own.
	Arch string
	// Kernel is compared with minKernel; the zero value is the running one.
	Kernel Kernel
	// Fake answers calls that need more than one id with success.
	Fake Fake
	// UID and GID are the only mapped ids, which Fake leaves to the kernel.
	UID, GID uint32
	// Notify names calls that are handed to a Listener where the profile
	// would allow them.
	Notify []string
	// Bypass is for containers with the host's sockets.
	Bypass Bypass
}

// Compile translates a profile into one filter program for all ABIs that the
// container can use. It fails on an invalid profile, on an architecture
// without syscall table, and on a program longer than the kernel takes.
func Compile(p *Profile, o Options) (Program, error) {
	policies, err := resolve(p, o)
	if err != nil {
		return nil, err
	}
	program := assemble(policies)
	if err := program.check(); err != nil {
		return nil, fmt.Errorf("compile seccomp profile: %w", err)
	}
	return program, nil
}

// policy is a profile spelled out for one ABI.
type policy struct {
	abi      *abi
	fallback uint32     // for known calls that no rule decides
	unknown  uint32     // for numbers that have no name here
	calls    []decision // sorted by number
}

// decision is what happens to one syscall number: the first clause whose
// conditions all hold decides, else the policy's fallback.
type decision struct {
	nr      uint32
	clauses []clause
}

// clause is a conjunction of argument conditions and its verdict.
type clause struct {
	when    []Arg
	verdict uint32
}

// resolve evaluates everything that is fixed for the life of a container:
// capabilities, architecture, kernel version, rule order, options.
func resolve(p *Profile, o Options) ([]policy, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	m, err := machineFor(o.Arch)
	if err != nil {
		return nil, err
	}
	rules := selectRules(p.Rules, o, m)
	byCall := rulesByCall(rules)
	var out []policy
	for _, id := range m.covered(p) {
		pol := p.policyFor(&abis[id], rules, byCall)
		pol.notify(o.Notify)
		pol.fake(o)
		pol.bypass(o.Bypass)
		out = append(out, pol)
	}
	return out, nil
}

// selectRules drops the rules whose includes and excludes rule them out.
func selectRules(rules []Rule, o Options, m machine) []Rule {
	var out []Rule
	for _, r := range rules {
		if !r.Excludes.any(o, m) && r.Includes.all(o, m) {
			out = append(out, r)
		}
	}
	return out
}

// all reports whether every part of an includes condition holds.
func (c *Condition) all(o Options, m machine) bool {
	for _, want := range c.Caps {
		if !slices.Contains(o.Caps, want) {
			return false
		}
	}
	if len(c.Arches) > 0 && !overlap(c.Arches, m.tokens) {
		return false
	}
	return o.Kernel.atLeast(c.MinKernel)
}

// any reports whether some part of an excludes condition holds.
func (c *Condition) any(o Options, m machine) bool {
	if overlap(c.Caps, o.Caps) || overlap(c.Arches, m.tokens) {
		return true
	}
	return c.MinKernel != Kernel{} && o.Kernel.atLeast(c.MinKernel)
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// rulesByCall lists, for each entry of calls, the indexes of its rules in
// profile order. Names that no ABI knows are ignored, as libseccomp does:
// profiles are written for newer kernels and other architectures too.
func rulesByCall(rules []Rule) [][]uint16 {
	byCall := make([][]uint16, len(calls))
	for i := range rules {
		for _, name := range rules[i].Names {
			if index, ok := lookup(name); ok {
				byCall[index] = append(byCall[index], uint16(i))
			}
		}
	}
	return byCall
}

// policyFor spells the rules out for one ABI.
func (p *Profile) policyFor(a *abi, rules []Rule, byCall [][]uint16) policy {
	pol := policy{abi: a, fallback: verdict(p.DefaultAction, p.DefaultErrno)}
	pol.unknown = pol.fallback
	if !lets(pol.fallback) {
		// A libc probes for new calls and falls back on ENOSYS only.
		pol.unknown = enosys
	}
	muxed := p.muxRules(a, rules)
	last := lastNamed(a, byCall, muxed)
	order := byNumber[a.id]
	for len(order) > 0 {
		nr, _ := a.number(int(order[0]))
		var list []Rule
		list, order = gather(a, nr, order, rules, byCall)
		list = append(list, muxed[nr]...)
		d := decision{nr: nr, clauses: p.order(list)}
		if nr > last {
			// Newer than the profile: its author could not have judged it.
			d.clauses = []clause{{verdict: pol.unknown}}
		}
		pol.calls = append(pol.calls, d)
	}
	return pol
}

// gather takes the names of one number off order and returns their rules in
// profile order. Only arm has a number with two names.
func gather(a *abi, nr uint32, order []uint16, rules []Rule, byCall [][]uint16) ([]Rule, []uint16) {
	indexes := slices.Clone(byCall[order[0]])
	for order = order[1:]; len(order) > 0; order = order[1:] {
		if n, _ := a.number(int(order[0])); n != nr {
			break
		}
		indexes = append(indexes, byCall[order[0]]...)
	}
	slices.Sort(indexes)
	var out []Rule
	for _, index := range slices.Compact(indexes) {
		out = append(out, rules[index])
	}
	return out, order
}

// lastNamed is the highest number of the ABI that the profile names.
func lastNamed(a *abi, byCall [][]uint16, muxed map[uint32][]Rule) uint32 {
	order := byNumber[a.id]
	for i := len(order) - 1; i >= 0; i-- {
		nr, _ := a.number(int(order[i]))
		if len(byCall[order[i]]) > 0 || len(muxed[nr]) > 0 {
			return nr
		}
	}
	return 0
}

// order turns the rules of one syscall into clauses, the deciding one first.
func (p *Profile) order(rules []Rule) []clause {
	if p.FirstMatch {
		return inListOrder(rules)
	}
	var conditional []clause
	for _, r := range rules {
		v := verdict(r.Action, r.Errno)
		switch {
		case v == verdict(p.DefaultAction, p.DefaultErrno):
			// Redundant, and runc skips it: it must not beat others.
		case len(r.Args) == 0:
			return []clause{{verdict: v}}
		default:
			conditional = append(conditional, alternatives(r.Args, v)...)
		}
	}
	return conditional
}

func inListOrder(rules []Rule) []clause {
	var out []clause
	for _, r := range rules {
		out = append(out, clause{when: r.Args, verdict: verdict(r.Action, r.Errno)})
		if len(r.Args) == 0 {
			break
		}
	}
	return out
}

// alternatives follows runc and crun: a rule with two conditions on the same
// argument means any of its conditions, not all of them.
func alternatives(args []Arg, v uint32) []clause {
	seen := [6]bool{}
	repeated := false
	for _, a := range args {
		repeated = repeated || seen[a.Index]
		seen[a.Index] = true
	}
	if !repeated {
		return []clause{{when: args, verdict: v}}
	}
	var out []clause
	for i := range args {
		out = append(out, clause{when: args[i : i+1], verdict: v})
	}
	return out
}

// notify hands calls to user space where they would have been allowed. Only
// direct calls: what comes through socketcall(2) has its arguments in memory
// that the caller can change.
func (pol *policy) notify(names []string) {
	for _, name := range names {
		index, _ := lookup(name)
		nr, ok := pol.abi.number(index)
		if !ok {
			continue
		}
		pol.rewrite(nr, func(c clause) []clause {
			if c.verdict == uint32(Allow) {
				c.verdict = uint32(Notify)
			}
			return []clause{c}
		})
	}
}

// rewrite replaces each clause of one number, the fallback included.
func (pol *policy) rewrite(nr uint32, f func(clause) []clause) {
	i, ok := slices.BinarySearchFunc(pol.calls, nr, func(d decision, nr uint32) int { return int(int64(d.nr) - int64(nr)) })
	if !ok {
		return
	}
	d := &pol.calls[i]
	old := d.clauses
	if n := len(old); n == 0 || len(old[n-1].when) > 0 {
		old = append(slices.Clip(old), clause{verdict: pol.fallback})
	}
	d.clauses = nil
	for _, c := range old {
		d.clauses = append(d.clauses, f(c)...)
	}
}

// complete fills in defaults and refuses what would be ignored silently.
func (o Options) complete() (Options, error) {
	if o.Arch == "" {
		o.Arch = hostArch
	}
	if o.Kernel == (Kernel{}) {
		k, err := runningKernel()
		if err != nil {
			return o, err
		}
		o.Kernel = k
	}
	for _, c := range o.Caps {
		if !strings.HasPrefix(c, "CAP_") || c != strings.ToUpper(c) {
			return o, fmt.Errorf("compile seccomp profile: capability %q: want a name like CAP_CHOWN", c)
		}
	}
	for _, name := range o.Notify {
		if _, ok := lookup(name); !ok {
			return o, fmt.Errorf("compile seccomp profile: notify %q: no such syscall", name)
		}
	}
	return o, nil
}
