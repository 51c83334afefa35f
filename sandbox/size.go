package sandbox

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The kernel's bounds of execve(2): of one string (MAX_ARG_STRLEN), of all of them
// whatever the stack may grow to (three quarters of _STK_LIM), and what is allowed
// however small the stack is (ARG_MAX).
const (
	maxString  = 128 << 10
	maxStrings = 6 << 20
	minStrings = 128 << 10
)

// stageStrings is room for what the last stage is given beside the user's words.
const stageStrings = 4 << 10

// tooLong: no execve takes these arguments and variables. The last stage is executed
// with them too, and when that fails, nobody is left who could say why.
func tooLong(p *specs.Process) bool {
	total, count := stageStrings, 0
	for _, list := range [][]string{p.Args, p.Env} {
		for _, s := range list {
			if len(s) >= maxString {
				return true
			}
			total += len(s) + 1
			count++
		}
	}
	const pointer = 8
	return total+count*pointer > stringRoom(p.Rlimits)
}

// stringRoom: a quarter of the stack, within the kernel's bounds.
func stringRoom(limits []specs.POSIXRlimit) int {
	var stack unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_STACK, &stack)
	for _, l := range limits {
		if l.Type == "RLIMIT_STACK" {
			stack.Cur = l.Soft
		}
	}
	return int(max(minStrings, min(maxStrings, stack.Cur/4)))
}
