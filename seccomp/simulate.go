package seccomp

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// dataSize is sizeof(struct seccomp_data).
const dataSize = 64

// Data is one call as a filter sees it: struct seccomp_data.
type Data struct {
	Nr   uint32
	Arch uint32 // unix.AUDIT_ARCH_*
	IP   uint64
	Args [6]uint64
}

// word is the little-endian 32-bit word at a byte offset.
func (d *Data) word(off uint32) uint32 {
	switch {
	case off == offNr:
		return d.Nr
	case off == offArch:
		return d.Arch
	case off < offArgs:
		return uint32(d.IP >> (8 * (off & 4)))
	}
	return uint32(d.Args[(off-offArgs)/8] >> (8 * (off & 4)))
}

// Run executes the program as the kernel would and returns its verdict, a
// SECCOMP_RET_* value. The program must come from Compile.
func (p Program) Run(d Data) uint32 {
	var a uint32
	for at := 0; ; at++ {
		i := p[at]
		switch i.Code {
		case opLoad:
			a = d.word(i.K)
		case opAnd:
			a &= i.K
		case opJump:
			at += int(i.K)
		case opRet:
			return i.K
		default:
			at += branch(i, a)
		}
	}
}

// branch returns how many instructions a comparison skips.
func branch(i unix.SockFilter, a uint32) int {
	yes := false
	switch i.Code {
	case opJEq:
		yes = a == i.K
	case opJGt:
		yes = a > i.K
	case opJGe:
		yes = a >= i.K
	case opJSet:
		yes = a&i.K != 0
	}
	if yes {
		return int(i.Jt)
	}
	return int(i.Jf)
}

// String lists the program, one instruction per line, with absolute targets.
func (p Program) String() string {
	var b strings.Builder
	for at, i := range p {
		fmt.Fprintf(&b, "%4d  ", at)
		switch i.Code {
		case opLoad:
			fmt.Fprintf(&b, "ld   %s\n", wordName(i.K))
		case opAnd:
			fmt.Fprintf(&b, "and  %#x\n", i.K)
		case opJump:
			fmt.Fprintf(&b, "ja   %d\n", at+1+int(i.K))
		case opRet:
			fmt.Fprintf(&b, "ret  %s\n", VerdictName(i.K))
		default:
			name := map[uint16]string{opJEq: "jeq", opJGt: "jgt", opJGe: "jge", opJSet: "jset"}[i.Code]
			fmt.Fprintf(&b, "%-4s %#x, %d, %d\n", name, i.K, at+1+int(i.Jt), at+1+int(i.Jf))
		}
	}
	return b.String()
}

func wordName(off uint32) string {
	switch {
	case off == offNr:
		return "nr"
	case off == offArch:
		return "arch"
	case off < offArgs:
		return fmt.Sprintf("ip+%d", off-8)
	case off&4 != 0:
		return fmt.Sprintf("args[%d].hi", (off-offArgs)/8)
	}
	return fmt.Sprintf("args[%d].lo", (off-offArgs)/8)
}

// VerdictName prints a verdict, e.g. "allow" or "errno EPERM".
func VerdictName(v uint32) string {
	errno := unix.Errno(v & unix.SECCOMP_RET_DATA)
	switch Action(v &^ unix.SECCOMP_RET_DATA) {
	case KillThread:
		return "kill-thread"
	case KillProcess:
		return "kill-process"
	case Trap:
		return "trap"
	case Notify:
		return "notify"
	case Trace:
		return fmt.Sprintf("trace %d", errno)
	case Log:
		return "log"
	case Allow:
		return "allow"
	case Errno:
		if errno == 0 {
			return "success"
		}
		if name := unix.ErrnoName(errno); name != "" {
			return "errno " + name
		}
		return fmt.Sprintf("errno %d", errno)
	}
	return fmt.Sprintf("%#x", v)
}
