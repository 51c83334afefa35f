package seccomp

// muxCall is one call that i386 programs also reach through a multiplexer.
type muxCall struct {
	name string
	via  string
	code uint64 // first argument of via
}

// muxCalls is from <linux/net.h> and <linux/ipc.h>. An array, not a map: a
// map would be built at every start of the process.
var muxCalls = [...]muxCall{
	{"socket", "socketcall", 1}, {"bind", "socketcall", 2}, {"connect", "socketcall", 3},
	{"listen", "socketcall", 4}, {"accept", "socketcall", 5}, {"getsockname", "socketcall", 6},
	{"getpeername", "socketcall", 7}, {"socketpair", "socketcall", 8}, {"send", "socketcall", 9},
	{"recv", "socketcall", 10}, {"sendto", "socketcall", 11}, {"recvfrom", "socketcall", 12},
	{"shutdown", "socketcall", 13}, {"setsockopt", "socketcall", 14}, {"getsockopt", "socketcall", 15},
	{"sendmsg", "socketcall", 16}, {"recvmsg", "socketcall", 17}, {"accept4", "socketcall", 18},
	{"recvmmsg", "socketcall", 19}, {"sendmmsg", "socketcall", 20},
	{"semop", "ipc", 1}, {"semget", "ipc", 2}, {"semctl", "ipc", 3}, {"semtimedop", "ipc", 4},
	{"msgsnd", "ipc", 11}, {"msgrcv", "ipc", 12}, {"msgget", "ipc", 13}, {"msgctl", "ipc", 14},
	{"shmat", "ipc", 21}, {"shmdt", "ipc", 22}, {"shmget", "ipc", 23}, {"shmctl", "ipc", 24},
}

// muxRules carries rules over to the multiplexers, as libseccomp does, so
// that a profile that refuses socket(2) refuses socketcall(SYS_SOCKET) too.
//
// The arguments are behind a pointer there and cannot be seen. A rule that
// refuses by argument therefore refuses the whole sub-call, and one that
// allows by argument is not carried over (libseccomp would allow all of it).
// A profile with FirstMatch names the multiplexers itself.
func (p *Profile) muxRules(a *abi, rules []Rule) map[uint32][]Rule {
	if !a.mux || p.FirstMatch {
		return nil
	}
	out := map[uint32][]Rule{}
	for _, r := range rules {
		for _, name := range r.Names {
			m, ok := findMux(name)
			if !ok || len(r.Args) > 0 && lets(uint32(r.Action)) {
				continue
			}
			// ipc(2) keeps a version in the upper half of its first argument.
			r.Args = []Arg{{Index: 0, Op: MaskedEqual, Value: 0xffff, ValueTwo: m.code}}
			if m.via == "socketcall" {
				r.Args = []Arg{{Index: 0, Op: EqualTo, Value: m.code}}
			}
			via, _ := lookup(m.via)
			nr, _ := a.number(via)
			out[nr] = append(out[nr], r)
		}
	}
	return out
}

func findMux(name string) (muxCall, bool) {
	for _, m := range muxCalls {
		if m.name == name {
			return m, true
		}
	}
	return muxCall{}, false
}
