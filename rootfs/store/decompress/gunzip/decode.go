package gunzip

import (
	"encoding/binary"
	"io"
)

// decode writes literals and matches until the block ends, the output is full, or
// an error. One turn of its loop takes 48 bits at most for a match, of the 56
// that a refill gives, or three literals of 15; so that nothing else is checked
// of the input within. The stream's end is followed by zeros: whoever takes of
// those is found out when the next refill is due.
func (r *Reader) decode() error {
	for r.made < windowSize+outputSize {
		if err := r.refill(); err != nil {
			return err
		}
		if done, err := r.run(); err != nil {
			return err
		} else if done {
			if r.overrun() {
				return io.ErrUnexpectedEOF
			}
			r.endBlock()
			return nil
		}
	}
	return nil
}

// run is the loop, with everything in local variables. It ends before the input
// does; done: with the block.
func (r *Reader) run() (done bool, err error) {
	input, output := r.input, r.output
	lengths, distances := &r.codes.lengths, &r.codes.distances
	hold, count, pos, made := r.bits, r.count, r.pos, r.made
	last := r.end - 8
	if r.eof {
		last = r.end + 7
	}
	for made < windowSize+outputSize && pos <= last {
		hold |= binary.LittleEndian.Uint64(input[pos:]) << (count & 63)
		pos += int((63 - count) >> 3)
		count |= 56

		e := lengths[hold&(1<<lengthBits-1)]
		if e&isLiteral != 0 {
			hold >>= e & 63
			count -= uint(e & 63)
			output[made] = byte(e >> 16)
			made++
			e = lengths[hold&(1<<lengthBits-1)]
			if e&isLiteral != 0 {
				hold >>= e & 63
				count -= uint(e & 63)
				output[made] = byte(e >> 16)
				made++
				e = lengths[hold&(1<<lengthBits-1)]
				if e&isLiteral != 0 {
					hold >>= e & 63
					count -= uint(e & 63)
					output[made] = byte(e >> 16)
					made++
					continue
				}
			}
			// A match may need more than is left.
			if pos > last {
				break
			}
			hold |= binary.LittleEndian.Uint64(input[pos:]) << (count & 63)
			pos += int((63 - count) >> 3)
			count |= 56
		}
		if e&isPointer != 0 {
			hold >>= e & 63
			count -= uint(e & 63)
			e = lengths[uint(e>>16&0x1fff)+uint(hold)&(1<<(e>>8&15)-1)]
			if e&isLiteral != 0 {
				hold >>= e & 63
				count -= uint(e & 63)
				output[made] = byte(e >> 16)
				made++
				continue
			}
		}
		if e == 0 {
			err = ErrCorrupt
			break
		}
		taken := hold
		hold >>= e & 63
		count -= uint(e & 63)
		if e&isEnd != 0 {
			done = true
			break
		}
		length := int(e>>16) + int(taken&(1<<(e&63)-1)>>(e>>8&15))

		e = distances[hold&(1<<distanceBits-1)]
		if e&isDistance != 0 {
			hold >>= e & 63
			count -= uint(e & 63)
			e = distances[uint(e>>16&0x1fff)+uint(hold)&(1<<(e>>8&15)-1)]
		}
		taken = hold
		hold >>= e & 63
		count -= uint(e & 63)
		distance := int(e>>16) + int(taken&(1<<(e&63)-1)>>(e>>8&15))
		from := made - distance
		if e == 0 || from < r.start {
			err = ErrCorrupt
			break
		}
		if distance >= 8 {
			// In words, beyond the match if need be: outputPad has room.
			for to, end := made, made+length; to < end; to, from = to+8, from+8 {
				binary.LittleEndian.PutUint64(output[to:], binary.LittleEndian.Uint64(output[from:]))
			}
		} else {
			for to, end := made, made+length; to < end; to, from = to+1, from+1 {
				output[to] = output[from]
			}
		}
		made += length
	}
	r.bits, r.count, r.pos, r.made = hold, count, pos, made
	return done, err
}
