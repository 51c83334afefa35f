package seccomp

import "slices"

// Fake names groups of calls that are answered with success although nothing
// was done. It is for containers whose user namespace maps a single id: there
// every such call on another id fails with EINVAL, and tar, dpkg, rpm and apk
// give up on it.
//
// Nothing is gained by the caller: the filter only ever replaces a failure
// by doing nothing. Three rules keep it from hiding a decision:
//   - a call that names no id but the mapped one (or -1, "leave as it is")
//     goes to the kernel and is answered truly;
//   - what the profile refuses stays refused;
//   - device nodes are not faked: mknod of a device fails in every user
//     namespace, with or without more ids, and whoever made one looks at it
//     next.
//
// docs/seccomp.md has the consequences, e.g. for programs that drop root.
type Fake uint8

const (
	// FakeOwner covers chown, fchown, lchown and fchownat.
	FakeOwner Fake = 1 << iota
	// FakeGroups covers setgroups, which such a namespace forbids altogether.
	FakeGroups
	// FakeIDs covers setuid, setgid, setre*id and setres*id. setfs*id need
	// nothing: they report no error.
	FakeIDs

	// FakeSingleUID is all of them.
	FakeSingleUID = FakeOwner | FakeGroups | FakeIDs
)

// fakedCall says where a call has its ids. The name with "32" appended is the
// same call with wide ids on ABIs whose plain call takes 16 bits.
type fakedCall struct {
	name   string
	group  Fake
	wide   bool    // always 32-bit ids
	uids   []uint8 // argument indexes
	gids   []uint8
	always bool // whatever the arguments
}

var fakedCalls = [...]fakedCall{
	{name: "chown", group: FakeOwner, uids: []uint8{1}, gids: []uint8{2}},
	{name: "fchown", group: FakeOwner, uids: []uint8{1}, gids: []uint8{2}},
	{name: "lchown", group: FakeOwner, uids: []uint8{1}, gids: []uint8{2}},
	{name: "fchownat", group: FakeOwner, wide: true, uids: []uint8{2}, gids: []uint8{3}},
	{name: "setgroups", group: FakeGroups, always: true},
	{name: "setuid", group: FakeIDs, uids: []uint8{0}},
	{name: "setgid", group: FakeIDs, gids: []uint8{0}},
	{name: "setreuid", group: FakeIDs, uids: []uint8{0, 1}},
	{name: "setregid", group: FakeIDs, gids: []uint8{0, 1}},
	{name: "setresuid", group: FakeIDs, uids: []uint8{0, 1, 2}},
	{name: "setresgid", group: FakeIDs, gids: []uint8{0, 1, 2}},
}

// fake rewrites the calls that the options ask for.
func (pol *policy) fake(o Options) {
	for i := range fakedCalls {
		f := &fakedCalls[i]
		if o.Fake&f.group == 0 {
			continue
		}
		pol.fakeCall(f.name, f, o, pol.abi.ids16 && !f.wide)
		if pol.abi.ids16 && !f.wide {
			pol.fakeCall(f.name+"32", f, o, false)
		}
	}
}

func (pol *policy) fakeCall(name string, f *fakedCall, o Options, narrow bool) {
	index, ok := lookup(name)
	if !ok {
		return
	}
	nr, ok := pol.abi.number(index)
	if !ok {
		return
	}
	pol.rewrite(nr, func(c clause) []clause {
		if c.verdict != uint32(Allow) {
			return []clause{c}
		}
		return append(f.pretended(c, o, narrow), c)
	})
}

// pretended lists the cases that are answered with success: some id is
// neither the mapped one nor -1. The rest is for the kernel to answer.
func (f *fakedCall) pretended(c clause, o Options, narrow bool) []clause {
	success := verdict(Errno, 0)
	if f.always {
		return []clause{{when: c.when, verdict: success}}
	}
	var out []clause
	for _, index := range f.uids {
		out = append(out, clause{when: otherID(c.when, index, o.UID, narrow), verdict: success})
	}
	for _, index := range f.gids {
		out = append(out, clause{when: otherID(c.when, index, o.GID, narrow), verdict: success})
	}
	return out
}

// otherID adds "neither id nor -1" to the conditions. The mask is the width
// that the kernel reads, so that no high bit changes the answer.
func otherID(when []Arg, index uint8, id uint32, narrow bool) []Arg {
	mask := uint64(^uint32(0))
	if narrow {
		mask = 0xffff
	}
	out := slices.Clip(slices.Clone(when))
	if uint64(id) <= mask {
		out = append(out, Arg{Index: index, Op: maskedNotEqual, Value: mask, ValueTwo: uint64(id)})
	}
	return append(out, Arg{Index: index, Op: maskedNotEqual, Value: mask, ValueTwo: mask})
}
