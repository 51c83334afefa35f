package gunzip

import "math/bits"

// A table is indexed by the next bits of the stream. Its entries are
//
//	bit  31     a literal, its value in bits 16-23
//	bit  30     a further table for longer codes: its offset in bits 16-28
//	bit  29     the end of the block
//	bits 16-28  else: base of a length
//	bits 8-11   bits of the code without extra ones; of a pointer: of the further index
//	bits 0-5    bits to take: code and extra ones; of a pointer: those of the index
//
// 0 is a code that does not exist. Distances have their base in bits 16-30, and
// bit 31 for a pointer.
type entry = uint32

const (
	isLiteral  entry = 1 << 31
	isPointer  entry = 1 << 30
	isEnd      entry = 1 << 29
	isDistance entry = 1 << 31 // pointer in the table of distances
)

const (
	lengthBits   = 11 // of the index of the first table
	distanceBits = 9
	codeBits     = 7 // of the code lengths' own code, and its longest
	maxCode      = 15

	maxLengths   = 286
	maxDistances = 30
)

// codes are a block's two codes. Behind the first table lie those for longer
// codes: at most one for each pair of symbols, of 2^(15-11) and 2^(15-9) entries.
type codes struct {
	lengths   [1<<lengthBits + maxLengths/2<<(maxCode-lengthBits)]entry
	distances [1<<distanceBits + maxDistances/2<<(maxCode-distanceBits)]entry
	isFixed   bool
}

var (
	lengthBase    = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra   = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase  = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// The meanings of symbols: entries without their code's bits, and false for the
// symbols that have none.

func lengthMeaning(symbol int) (entry, bool) {
	switch {
	case symbol < 256:
		return isLiteral | entry(symbol)<<16, true
	case symbol == 256:
		return isEnd, true
	case symbol < maxLengths:
		return entry(lengthBase[symbol-257])<<16 | entry(lengthExtra[symbol-257]), true
	}
	return 0, false
}

func distanceMeaning(symbol int) (entry, bool) {
	if symbol >= maxDistances {
		return 0, false
	}
	return entry(distanceBase[symbol])<<16 | entry(distanceExtra[symbol]), true
}

func plainMeaning(symbol int) (entry, bool) { return entry(symbol) << 16, true }

// build fills table for the code whose symbols have these lengths (RFC 1951,
// 3.2.2); pointer marks pointers. The code must be complete, empty, as one that
// is not used, or have a single symbol of one bit.
func build(table []entry, primary uint, pointer entry, lengths []uint8, meaning func(int) (entry, bool)) bool {
	clear(table)
	next, longest, ok := firstCodes(lengths)
	if !ok {
		return false
	}
	further := max(longest, primary) - primary // index bits of all further tables
	free := 1 << primary
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		length := uint(n)
		code := uint(bits.Reverse16(uint16(next[n]))) >> (16 - length)
		next[n]++
		e, ok := meaning(symbol)
		if !ok {
			continue
		}
		if length <= primary {
			put(table[:1<<primary], code, length, e)
			continue
		}
		first := &table[code&(1<<primary-1)]
		if *first == 0 {
			*first = pointer | entry(free)<<16 | entry(further)<<8 | entry(primary)
			free += 1 << further
		}
		offset := *first >> 16 & 0x1fff
		put(table[offset:offset+1<<further], code>>primary, length-primary, e)
	}
	return true
}

// firstCodes gives the first code of each length.
func firstCodes(lengths []uint8) (next [maxCode + 1]int, longest uint, ok bool) {
	var count [maxCode + 1]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	code := 0
	for n := 1; n <= maxCode; n++ {
		code = (code + count[n-1]) << 1
		next[n] = code
		if code+count[n] > 1<<n {
			return next, 0, false
		}
		if count[n] > 0 {
			longest = uint(n)
		}
	}
	used := next[longest] + count[longest]
	return next, longest, longest == 0 || used == 1<<longest || longest == 1 && used == 1
}

// put enters a code wherever its bits are the lowest ones.
func put(table []entry, code, length uint, meaning entry) {
	e := meaning + entry(length)<<8 + entry(length)
	for i := code; i < uint(len(table)); i += 1 << length {
		table[i] = e
	}
}

// fixed is RFC 1951, 3.2.6.
func (c *codes) fixed() {
	if c.isFixed {
		return
	}
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	build(c.lengths[:], lengthBits, isPointer, lengths[:], lengthMeaning)
	var distances [32]uint8
	for i := range distances {
		distances[i] = 5
	}
	build(c.distances[:], distanceBits, isDistance, distances[:], distanceMeaning)
	c.isFixed = true
}

// order in which the lengths of the code lengths' own code come.
var order = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes is RFC 1951, 3.2.7.
func (r *Reader) readCodes() error {
	r.codes.isFixed = false
	lengths, distances, own := int(r.take(5))+257, int(r.take(5))+1, int(r.take(4))+4
	if lengths > maxLengths || distances > maxDistances {
		return ErrCorrupt
	}
	var ownLengths [19]uint8
	for _, symbol := range order[:own] {
		if err := r.refill(); err != nil {
			return err
		}
		ownLengths[symbol] = uint8(r.take(3))
	}
	var table [1 << codeBits]entry
	if !build(table[:], codeBits, isPointer, ownLengths[:], plainMeaning) {
		return ErrCorrupt
	}
	var all [maxLengths + maxDistances]uint8
	if err := r.readLengths(&table, all[:lengths+distances]); err != nil {
		return err
	}
	if all[256] == 0 { // no end of the block
		return ErrCorrupt
	}
	if !build(r.codes.lengths[:], lengthBits, isPointer, all[:lengths], lengthMeaning) ||
		!build(r.codes.distances[:], distanceBits, isDistance, all[lengths:lengths+distances], distanceMeaning) {
		return ErrCorrupt
	}
	return nil
}

func (r *Reader) readLengths(table *[1 << codeBits]entry, all []uint8) error {
	for at := 0; at < len(all); {
		if err := r.refill(); err != nil {
			return err
		}
		e := table[r.bits&(1<<codeBits-1)]
		if e == 0 {
			return ErrCorrupt
		}
		r.take(uint(e & 63))
		symbol := uint8(e >> 16)
		if symbol < 16 {
			all[at] = symbol
			at++
			continue
		}
		var value uint8
		var times int
		switch symbol {
		case 16:
			if at == 0 {
				return ErrCorrupt
			}
			value, times = all[at-1], 3+int(r.take(2))
		case 17:
			times = 3 + int(r.take(3))
		case 18:
			times = 11 + int(r.take(7))
		}
		if times > len(all)-at {
			return ErrCorrupt
		}
		for range times {
			all[at] = value
			at++
		}
	}
	return nil
}
