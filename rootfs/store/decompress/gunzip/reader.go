package gunzip

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Errors of a stream that is not what it should be. One that is too short gives
// io.ErrUnexpectedEOF.
var (
	ErrHeader   = errors.New("gzip: invalid header")
	ErrChecksum = errors.New("gzip: invalid checksum")
	ErrCorrupt  = errors.New("gzip: corrupt data")
)

const (
	inputSize  = 128 << 10
	windowSize = 32 << 10 // how far back a match may reach
	outputSize = 256 << 10
	// inputPad is zeros behind the end of the stream, read in place of more of it.
	inputPad = 32
	// outputPad is what one turn of decode writes at most behind its limit: three
	// literals or a match of 258, copied in words.
	outputPad = 258 + 16
)

// Reader inflates. It is not safe for several goroutines.
type Reader struct {
	source io.Reader
	err    error // what Read returns once all output is given

	input    []byte // input[pos:end] is unread; the bit buffer is ahead of that
	pos, end int
	eof      bool // of source; input[end:] is zeros then

	// The next bits, lowest first. count of them are accounted for in pos; above
	// those stand bits of input[pos:], to be put in again.
	bits  uint64
	count uint

	output []byte // output[given:made] is next; what is before is the window
	given  int
	made   int
	start  int // of what the member has made: a match may not reach behind

	block  blockKind
	last   bool // the block is its member's last
	stored int  // bytes left of a stored block
	sum    uint32
	size   uint32
	codes  codes
}

type blockKind int

const (
	between    blockKind = iota // the next thing is a block's header
	inStored                    // bytes as they are
	inCodes                     // symbols
	afterBlock                  // the member's trailer
)

// NewReader reads the first member's header.
func NewReader(source io.Reader) (*Reader, error) {
	r := &Reader{source: source, input: make([]byte, inputSize+inputPad), output: make([]byte, windowSize+outputSize+outputPad)}
	if err := r.header(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return r, nil
}

// Close makes Reader an io.ReadCloser; there is nothing to release.
func (r *Reader) Close() error { return nil }

// Read gives plain bytes. io.EOF comes after the last member, with its length
// and sum verified.
func (r *Reader) Read(p []byte) (int, error) {
	for r.given == r.made {
		if r.err != nil {
			return 0, r.err
		}
		r.slide()
		from := r.made
		r.err = r.step()
		r.sum = crc32.Update(r.sum, crc32.IEEETable, r.output[from:r.made])
		r.size += uint32(r.made - from)
	}
	n := copy(p, r.output[r.given:r.made])
	r.given += n
	return n, nil
}

// slide makes room, keeping the window.
func (r *Reader) slide() {
	if r.made < windowSize+outputSize {
		return
	}
	copy(r.output, r.output[r.made-windowSize:r.made])
	r.start = max(0, r.start-(r.made-windowSize))
	r.made = windowSize
	r.given = r.made
}

// step does the next thing: a header, a trailer, or output until there is room
// for no more of it.
func (r *Reader) step() error {
	switch r.block {
	case between:
		return r.blame(r.blockHeader())
	case inStored:
		return r.copyStored()
	case inCodes:
		return r.blame(r.decode())
	}
	if err := r.trailer(); err != nil {
		return err
	}
	return r.header()
}

// blame finds a stream cut off behind one that seems corrupt: the zeros behind
// its end were read where there is no room for a trailer any more.
func (r *Reader) blame(err error) error {
	if err == ErrCorrupt && r.eof && r.end-(r.pos-int(r.count>>3)) < 8 {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) endBlock() {
	r.block = between
	if r.last {
		r.block = afterBlock
	}
}

// fill reads until 8 bytes are unread, or the source has no more. It keeps the
// bytes that are in the bit buffer: align gives them back.
func (r *Reader) fill() error {
	keep := min(r.pos, 8)
	r.end = copy(r.input, r.input[r.pos-keep:r.end])
	r.pos = keep
	for tries := 0; r.end-r.pos < 8; {
		n, err := r.source.Read(r.input[r.end:inputSize])
		r.end += n
		if err == io.EOF {
			r.eof = true
			clear(r.input[r.end : r.end+inputPad])
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			tries = 0
		} else if tries++; tries > 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// refill puts at least 56 bits in the buffer; zeros when the source ends, and an
// error when more bits than it has were taken.
func (r *Reader) refill() error {
	if !r.eof && r.end-r.pos < 8 {
		if err := r.fill(); err != nil {
			return err
		}
	}
	if r.overrun() {
		return io.ErrUnexpectedEOF
	}
	r.bits |= binary.LittleEndian.Uint64(r.input[r.pos:]) << r.count
	r.pos += int((63 - r.count) >> 3)
	r.count |= 56
	return nil
}

// overrun: pos may be ahead of the end by what is in the bit buffer.
func (r *Reader) overrun() bool { return r.eof && r.pos-int(r.count>>3) > r.end }

// take gives the next n bits, at most 32.
func (r *Reader) take(n uint) uint32 {
	value := uint32(r.bits & (1<<n - 1))
	r.bits >>= n
	r.count -= n
	return value
}

// align drops what is left of the present byte and gives whole bytes back.
func (r *Reader) align() {
	r.pos -= int(r.count >> 3)
	r.bits, r.count = 0, 0
}

// bytes gives the next n bytes, at most 8, at a byte boundary; io.EOF if there is none.
func (r *Reader) bytes(n int) ([]byte, error) {
	if r.end-r.pos < n && !r.eof {
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	switch left := r.end - r.pos; {
	case left <= 0:
		return nil, io.EOF
	case left < n:
		return nil, io.ErrUnexpectedEOF
	}
	r.pos += n
	return r.input[r.pos-n : r.pos], nil
}

// blockHeader is RFC 1951, 3.2.3.
func (r *Reader) blockHeader() error {
	if err := r.refill(); err != nil {
		return err
	}
	r.last = r.take(1) == 1
	switch r.take(2) {
	case 0:
		return r.storedHeader()
	case 1:
		r.codes.fixed()
	case 2:
		if err := r.readCodes(); err != nil {
			return err
		}
	default:
		return ErrCorrupt
	}
	r.block = inCodes
	return nil
}

func (r *Reader) storedHeader() error {
	r.align()
	b, err := r.bytes(4)
	if err != nil {
		return noEOF(err)
	}
	length, check := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	if length != ^check {
		return ErrCorrupt
	}
	r.stored, r.block = int(length), inStored
	return nil
}

func (r *Reader) copyStored() error {
	for r.stored > 0 {
		room := min(r.stored, windowSize+outputSize-r.made)
		if room == 0 {
			return nil
		}
		if r.pos == r.end && !r.eof {
			if err := r.fill(); err != nil {
				return err
			}
		}
		if r.pos >= r.end {
			return io.ErrUnexpectedEOF
		}
		n := copy(r.output[r.made:r.made+room], r.input[r.pos:r.end])
		r.pos, r.made, r.stored = r.pos+n, r.made+n, r.stored-n
	}
	r.endBlock()
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
