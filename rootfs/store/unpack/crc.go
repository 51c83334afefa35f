package unpack

import (
	"encoding/binary"
	"hash/crc64"
	"sync"
)

// checksum is the CRC-64 (ISO) of the notes. The standard library's takes each
// eight bytes after the last eight, and most of its time is spent waiting for
// that chain; here four parts of a block are summed up side by side. A sum is
// linear: that of two parts is the first one's, moved on over as many zeros as the
// second part has bytes, and the second one's from zero.
type checksum struct {
	sum    uint64
	tables *crcTables
}

func newChecksum() *checksum { return &checksum{tables: isoTables()} }

const (
	crcPart  = 1 << 10
	crcBlock = 4 * crcPart
)

func (c *checksum) reset() { c.sum = 0 }

func (c *checksum) bytes() []byte { return binary.BigEndian.AppendUint64(nil, c.sum) }

// Write never fails.
func (c *checksum) Write(p []byte) (int, error) {
	n := len(p)
	for ; len(p) >= crcBlock; p = p[crcBlock:] {
		c.sum = ^c.tables.block(^c.sum, (*[crcBlock]byte)(p))
	}
	c.sum = crc64.Update(c.sum, c.tables.single, p)
	return n, nil
}

// crcTables: eight[i] is for a byte with i more behind it in its word, zeros[i] for
// byte i of a sum that is moved on over crcPart zeros.
type crcTables struct {
	single       *crc64.Table
	eight, zeros [8][256]uint64
}

var isoTables = sync.OnceValue(func() *crcTables {
	t := &crcTables{single: crc64.MakeTable(crc64.ISO)}
	t.eight[0] = *t.single
	for i := range 256 {
		for j := 1; j < 8; j++ {
			before := t.eight[j-1][i]
			t.eight[j][i] = t.single[byte(before)] ^ before>>8
		}
	}
	t.makeZeros()
	return t
})

func (t *crcTables) makeZeros() {
	for bit := range 64 {
		moved := uint64(1) << bit
		for range crcPart / 8 {
			moved = t.word(moved)
		}
		// Every value of the byte that has this bit is the sum of its bits.
		for value := range 256 {
			if value>>(bit%8)&1 != 0 {
				t.zeros[bit/8][value] ^= moved
			}
		}
	}
}

// word takes in eight bytes, already added to the state.
func (t *crcTables) word(s uint64) uint64 {
	return t.eight[7][byte(s)] ^ t.eight[6][byte(s>>8)] ^ t.eight[5][byte(s>>16)] ^ t.eight[4][byte(s>>24)] ^
		t.eight[3][byte(s>>32)] ^ t.eight[2][byte(s>>40)] ^ t.eight[1][byte(s>>48)] ^ t.eight[0][byte(s>>56)]
}

func (t *crcTables) overZeros(s uint64) uint64 {
	return t.zeros[0][byte(s)] ^ t.zeros[1][byte(s>>8)] ^ t.zeros[2][byte(s>>16)] ^ t.zeros[3][byte(s>>24)] ^
		t.zeros[4][byte(s>>32)] ^ t.zeros[5][byte(s>>40)] ^ t.zeros[6][byte(s>>48)] ^ t.zeros[7][byte(s>>56)]
}

func (t *crcTables) block(a uint64, p *[crcBlock]byte) uint64 {
	var b, c, d uint64
	for i := 0; i <= crcPart-8; i += 8 {
		a = t.word(a ^ binary.LittleEndian.Uint64(p[i:]))
		b = t.word(b ^ binary.LittleEndian.Uint64(p[i+crcPart:]))
		c = t.word(c ^ binary.LittleEndian.Uint64(p[i+2*crcPart:]))
		d = t.word(d ^ binary.LittleEndian.Uint64(p[i+3*crcPart:]))
	}
	return t.overZeros(t.overZeros(t.overZeros(a)^b)^c) ^ d
}
