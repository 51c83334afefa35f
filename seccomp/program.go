package seccomp

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Program is a classic BPF program over struct seccomp_data, as prctl(2) and
// seccomp(2) take it.
type Program []unix.SockFilter

// maxInstructions is BPF_MAXINSNS of the kernel.
const maxInstructions = 4096

// insSize is sizeof(struct sock_filter).
const insSize = 8

// Bytes returns the array of struct sock_filter in native byte order. Its
// length divided by 8 is the len of struct sock_fprog.
func (p Program) Bytes() []byte {
	out := make([]byte, 0, len(p)*insSize)
	for _, i := range p {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out
}

// programFrom is the inverse of Bytes. It checks the program.
func programFrom(b []byte) (Program, error) {
	if len(b)%insSize != 0 {
		return nil, fmt.Errorf("filter program: %d bytes are no whole number of instructions", len(b))
	}
	p := make(Program, 0, len(b)/insSize)
	for ; len(b) > 0; b = b[insSize:] {
		p = append(p, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(b),
			Jt:   b[2],
			Jf:   b[3],
			K:    binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return p, p.check()
}

// check applies the kernel's rules (bpf_check_classic, seccomp_check_filter)
// so that a fault shows at compile time, not when the container starts.
func (p Program) check() error {
	if len(p) == 0 || len(p) > maxInstructions {
		return fmt.Errorf("filter program has %d instructions: the kernel takes 1 to %d", len(p), maxInstructions)
	}
	for at, i := range p {
		if err := p.checkIns(at, i); err != nil {
			return fmt.Errorf("filter program, instruction %d: %w", at, err)
		}
	}
	if p[len(p)-1].Code != opRet {
		return fmt.Errorf("filter program does not end in a return")
	}
	return nil
}

func (p Program) checkIns(at int, i unix.SockFilter) error {
	switch i.Code {
	case opLoad:
		if i.K%4 != 0 || i.K >= dataSize {
			return fmt.Errorf("load from offset %d", i.K)
		}
	case opJump:
		if uint64(at)+1+uint64(i.K) >= uint64(len(p)) {
			return fmt.Errorf("jump past the end")
		}
	case opJEq, opJGt, opJGe, opJSet:
		if at+1+int(max(i.Jt, i.Jf)) >= len(p) {
			return fmt.Errorf("jump past the end")
		}
	case opAnd, opRet:
	default:
		return fmt.Errorf("unknown code %#x", i.Code)
	}
	return nil
}
