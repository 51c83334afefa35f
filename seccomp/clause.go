package seccomp

import "golang.org/x/sys/unix"

// builder writes the argument checks of one syscall. It remembers which word
// of seccomp_data the accumulator holds, so that a row of comparisons on one
// argument loads it once.
type builder struct {
	out    Program
	narrow bool
	closed bool   // an unconditional return was written
	loaded uint32 // offset of the word in A; 0 (the number) means unknown
	fails  []int  // instructions whose "no" leads to the next clause
	hits   []int  // instructions whose "yes" leads to the next condition
	first  uint32 // the word that the clause looks at first
	mixed  bool   // it looks at others too, or masks it
}

// Placeholders in Jt and Jf until the targets are known. Bodies of clauses
// are short, so that no real distance reaches them.
const (
	toFail = 255
	toHit  = 254
)

// clause writes "if all conditions hold return, else go on".
func (b *builder) clause(c clause) {
	b.fails, b.hits, b.first, b.mixed = nil, nil, 0, false
	for _, a := range c.when {
		b.condition(a)
	}
	b.out = append(b.out, ins(opRet, c.verdict))
	b.closed = b.fails == nil
	for _, at := range b.fails {
		b.patch(at, toFail, len(b.out))
	}
	// Only if all ways here come from one comparison of one word is A known.
	if b.mixed {
		b.loaded = 0
	} else {
		b.loaded = b.first
	}
}

// masked returns mask and value of a MaskedEqual in the width of the ABI.
// Bits of the value outside the mask do not count, as with libseccomp.
func (a Arg) masked(narrow bool) (mask, value uint64) {
	mask = a.Value
	if narrow {
		mask = uint64(uint32(mask))
	}
	return mask, a.ValueTwo & mask
}

// condition writes the check of one argument, high word first.
func (b *builder) condition(a Arg) {
	lo := uint32(offArgs + 8*uint32(a.Index))
	hi := lo + 4
	high, low := uint32(a.Value>>32), uint32(a.Value)
	switch a.Op {
	case MaskedEqual:
		mask, value := a.masked(b.narrow)
		b.maskedWord(hi, uint32(mask>>32), uint32(value>>32))
		b.maskedWord(lo, uint32(mask), uint32(value))
		return
	case maskedNotEqual:
		b.load(lo)
		if mask := uint32(a.Value); mask != ^uint32(0) {
			b.out = append(b.out, ins(opAnd, mask))
			b.mixed, b.loaded = true, 0
		}
		b.out = append(b.out, jump(opJEq, uint32(a.ValueTwo), toFail, 0))
		b.fails = append(b.fails, len(b.out)-1)
	case EqualTo:
		b.wide(hi, jump(opJEq, high, 0, toFail))
		b.word(lo, jump(opJEq, low, 0, toFail))
	case NotEqual:
		b.wide(hi, jump(opJEq, high, 0, toHit))
		b.word(lo, jump(opJEq, low, toFail, 0))
	case GreaterThan:
		b.wide(hi, jump(opJGt, high, toHit, 0), jump(opJEq, high, 0, toFail))
		b.word(lo, jump(opJGt, low, 0, toFail))
	case GreaterEqual:
		b.wide(hi, jump(opJGt, high, toHit, 0), jump(opJEq, high, 0, toFail))
		b.word(lo, jump(opJGe, low, 0, toFail))
	case LessThan:
		b.wide(hi, jump(opJGt, high, toFail, 0), jump(opJEq, high, 0, toHit))
		b.word(lo, jump(opJGe, low, toFail, 0))
	case LessEqual:
		b.wide(hi, jump(opJGt, high, toFail, 0), jump(opJEq, high, 0, toHit))
		b.word(lo, jump(opJGt, low, toFail, 0))
	}
	for _, at := range b.hits {
		b.patch(at, toHit, len(b.out))
	}
	if len(b.hits) > 0 {
		b.loaded = 0 // reached with the high or the low word in A
	}
	b.hits = nil
}

// wide writes checks of a high word; narrow ABIs have none.
func (b *builder) wide(off uint32, checks ...unix.SockFilter) {
	if !b.narrow {
		b.word(off, checks...)
	}
}

// word loads a word, unless A has it, and writes checks on it.
func (b *builder) word(off uint32, checks ...unix.SockFilter) {
	b.load(off)
	for _, c := range checks {
		if c.Jt == toFail || c.Jf == toFail {
			b.fails = append(b.fails, len(b.out))
		}
		if c.Jt == toHit || c.Jf == toHit {
			b.hits = append(b.hits, len(b.out))
		}
		b.out = append(b.out, c)
	}
}

func (b *builder) load(off uint32) {
	if b.first == 0 {
		b.first = off
	} else if b.first != off {
		b.mixed = true
	}
	if b.loaded == off {
		return
	}
	b.out = append(b.out, ins(opLoad, off))
	b.loaded = off
}

// maskedWord checks word & mask == value; value has no bit outside mask.
func (b *builder) maskedWord(off, mask, value uint32) {
	switch {
	case mask == 0:
	case mask == ^uint32(0):
		b.word(off, jump(opJEq, value, 0, toFail))
	case value == 0:
		b.word(off, jump(opJSet, mask, toFail, 0))
	case mask&(mask-1) == 0:
		b.word(off, jump(opJSet, mask, 0, toFail))
	default:
		b.load(off)
		b.out = append(b.out, ins(opAnd, mask))
		b.mixed, b.loaded = true, 0
		b.out = append(b.out, jump(opJEq, value, 0, toFail))
		b.fails = append(b.fails, len(b.out)-1)
	}
}

// patch turns a placeholder of the instruction into the distance to target.
func (b *builder) patch(at int, mark uint8, target int) {
	distance := uint8(target - at - 1)
	if b.out[at].Jt == mark {
		b.out[at].Jt = distance
	}
	if b.out[at].Jf == mark {
		b.out[at].Jf = distance
	}
}
