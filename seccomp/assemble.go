package seccomp

import (
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data. Both families are little-endian.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// Instruction codes of classic BPF that a seccomp filter needs.
const (
	opLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opJump = unix.BPF_JMP | unix.BPF_JA
	opJEq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opJGt  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	opJGe  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opJSet = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	opRet  = unix.BPF_RET | unix.BPF_K
)

func ins(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(code uint16, k uint32, jt, jf int) unix.SockFilter {
	return unix.SockFilter{Code: code, Jt: uint8(jt), Jf: uint8(jf), K: k}
}

// maxShort is the furthest that a conditional jump reaches.
const maxShort = 255

// assemble lays the program out as
//
//	load the architecture
//	amd64 and x32?  load the number, binary search, argument checks
//	386?            load the number, binary search, argument checks
//	anything else   kill
//
// The searches use nothing but loads of the number, comparisons and returns:
// the kernel (5.11 on) then proves which calls are always allowed and skips
// the filter for them.
func assemble(policies []policy) Program {
	out := Program{ins(opLoad, offArch)}
	for i := 0; i < len(policies); {
		audit := policies[i].abi.audit
		var segments []segment
		for ; i < len(policies) && policies[i].abi.audit == audit; i++ {
			segments = append(segments, policies[i].segments()...)
		}
		if audit == unix.AUDIT_ARCH_X86_64 && segments[len(segments)-1].start < x32Bit {
			// x32 is not covered: answer as a kernel without x32.
			segments = append(segments, segment{start: x32Bit, body: ret(enosys)})
		}
		section := append(Program{ins(opLoad, offNr)}, search(segments)...)
		if len(section) <= maxShort {
			out = append(out, jump(opJEq, audit, 0, len(section)))
		} else {
			out = append(out, jump(opJEq, audit, 1, 0), ins(opJump, uint32(len(section))))
		}
		out = append(out, section...)
	}
	return append(out, ret(uint32(KillProcess))...)
}

func ret(v uint32) Program { return Program{ins(opRet, v)} }

// segment is a run of syscall numbers, up to the next segment's start, that
// are all decided by the same code.
type segment struct {
	start uint32
	body  Program // ends in returns
}

// segments covers all numbers of the ABI without a gap: the known ones, and
// what lies between and above them.
func (pol *policy) segments() []segment {
	out := []segment{}
	next := pol.abi.bit // the lowest number not covered yet
	for _, d := range pol.calls {
		if d.nr > next {
			out = extend(out, segment{next, ret(pol.unknown)})
		}
		out = extend(out, segment{d.nr, pol.body(d)})
		next = d.nr + 1
	}
	return extend(out, segment{next, ret(pol.unknown)})
}

// extend merges neighbours that give the same plain answer.
func extend(segments []segment, s segment) []segment {
	if n := len(segments); n > 0 && len(s.body) == 1 && len(segments[n-1].body) == 1 && segments[n-1].body[0] == s.body[0] {
		return segments
	}
	return append(segments, s)
}

// search is a balanced tree of "at least" comparisons over the segments. A
// holds the number.
func search(segments []segment) Program {
	if len(segments) == 1 {
		return segments[0].body
	}
	mid := len(segments) / 2
	left, right := search(segments[:mid]), search(segments[mid:])
	out := make(Program, 0, 2+len(left)+len(right))
	if len(left) <= maxShort {
		out = append(out, jump(opJGe, segments[mid].start, len(left), 0))
	} else {
		out = append(out, jump(opJGe, segments[mid].start, 0, 1), ins(opJump, uint32(len(left))))
	}
	return append(append(out, left...), right...)
}

// body checks the clauses of one call in order.
func (pol *policy) body(d decision) Program {
	b := builder{narrow: pol.abi.narrow}
	for _, c := range d.clauses {
		if b.clause(c); b.closed {
			return b.out
		}
	}
	return append(b.out, ins(opRet, pol.fallback))
}
