package gunzip

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// Flags of a member's header, RFC 1952, 2.3.1.
const (
	flagHeaderSum = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// maxText bounds the name and the comment in a header; nobody reads them here.
const maxText = 64 << 10

// header reads a member's header; io.EOF where the stream ends instead.
func (r *Reader) header() error {
	h := head{Reader: r}
	fixed := make([]byte, 0, 10)
	for len(fixed) < 10 {
		c, err := h.next()
		if err == io.EOF && len(fixed) == 0 {
			return io.EOF
		}
		if err != nil {
			return noEOF(err)
		}
		fixed = append(fixed, c)
	}
	if fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8 {
		return ErrHeader
	}
	if err := h.optional(fixed[3]); err != nil {
		return noEOF(err)
	}
	// A member starts anew: it may not refer to what another has made.
	r.block, r.last, r.sum, r.size, r.start = between, false, 0, 0, r.made
	return nil
}

// head reads a header byte by byte and sums it up.
type head struct {
	*Reader
	sum uint32
}

func (h *head) next() (byte, error) {
	b, err := h.bytes(1)
	if err != nil {
		return 0, err
	}
	h.sum = crc32.Update(h.sum, crc32.IEEETable, b)
	return b[0], nil
}

func (h *head) optional(flags byte) error {
	if flags&flagExtra != 0 {
		low, err := h.next()
		if err != nil {
			return err
		}
		high, err := h.next()
		if err != nil {
			return err
		}
		for range int(low) | int(high)<<8 {
			if _, err := h.next(); err != nil {
				return err
			}
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag != 0 {
			if err := h.text(); err != nil {
				return err
			}
		}
	}
	if flags&flagHeaderSum == 0 {
		return nil
	}
	want := uint16(h.sum)
	b, err := h.bytes(2)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint16(b) != want {
		return ErrHeader
	}
	return nil
}

func (h *head) text() error {
	for range maxText {
		if c, err := h.next(); err != nil || c == 0 {
			return err
		}
	}
	return ErrHeader
}

// trailer compares sum and length of the member.
func (r *Reader) trailer() error {
	r.align()
	b, err := r.bytes(8)
	if err != nil {
		return noEOF(err)
	}
	if binary.LittleEndian.Uint32(b) != r.sum || binary.LittleEndian.Uint32(b[4:]) != r.size {
		return ErrChecksum
	}
	return nil
}
