package logs

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"time"
	"unicode/utf8"
)

// isPlain tells whether a byte stands for itself in a JSON string as docker
// writes it: ASCII but for controls, quote, backslash, and what HTML minds.
func isPlain(c byte) bool {
	return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

// plainPrefix is the number of plain bytes that b begins with. It looks at eight
// at a time: this is where writing a log spends its time.
func plainPrefix(b []byte) int {
	const (
		each = 0x0101010101010101
		high = 0x80 * each
	)
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		// In each of these a byte that matches sets its high bit; a borrow
		// may set more, but only above the first that matches.
		controls := x - ' '*each&^x
		backslash := x ^ '\\'*each
		less := (x | 2*each) ^ '>'*each  // < and >
		quote := (x | 4*each) ^ '&'*each // " and &
		special := controls | (backslash - each&^backslash) | (less - each&^less) | (quote - each&^quote) | x
		if special &= high; special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(b) && isPlain(b[n]) {
		n++
	}
	return n
}

const hexDigits = "0123456789abcdef"

// appendEscaped appends text as the inside of a JSON string, byte for byte as
// docker's json-file driver does; a byte that is not UTF-8 becomes \ufffd.
func appendEscaped(dst, text []byte) []byte {
	done := 0 // of text, appended
	for i := 0; ; {
		i += plainPrefix(text[i:])
		if i == len(text) {
			return append(dst, text[done:]...)
		}
		size := 1
		switch c := text[i]; {
		case c < utf8.RuneSelf:
			dst = appendEscape(append(dst, text[done:i]...), c)
			done = i + 1
		default:
			var r rune
			r, size = utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, text[done:i]...), `\ufffd`...)
				done = i + size
			} else if r == '\u2028' || r == '\u2029' {
				dst = append(append(dst, text[done:i]...), `\u202`...)
				dst = append(dst, hexDigits[r&0xf])
				done = i + size
			}
		}
		i += size
	}
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '\\', '"':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// encoder writes entries of a log file. All lines of one batch share their
// end, which is made once.
type encoder struct {
	attrs []byte // `"attrs":{…},` or empty
	ends  [2]struct {
		at   time.Time
		text []byte // `","stream":"stdout",…"time":"…"}` and a newline
	}
}

func newEncoder(attrs map[string]string) (*encoder, error) {
	e := &encoder{}
	if len(attrs) == 0 {
		return e, nil
	}
	object, err := json.Marshal(attrs)
	if err != nil {
		return nil, err
	}
	e.attrs = append(append([]byte(`"attrs":`), object...), ',')
	return e, nil
}

// append appends one entry; whole tells that a newline ended the text.
func (e *encoder) append(dst []byte, stream stream, at time.Time, text []byte, whole bool) []byte {
	dst = appendEscaped(append(dst, `{"log":"`...), text)
	if whole {
		dst = append(dst, `\n`...)
	}
	return append(dst, e.end(stream, at)...)
}

func (e *encoder) end(stream stream, at time.Time) []byte {
	end := &e.ends[stream]
	if end.text != nil && end.at.Equal(at) {
		return end.text
	}
	b := append(end.text[:0], `","stream":"`...)
	b = append(append(b, stream.String()...), `",`...)
	b = append(append(b, e.attrs...), `"time":"`...)
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	end.at, end.text = at, append(b, "\"}\n"...)
	return end.text
}
