package logs

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// plain marks the bytes that stand for themselves in a JSON string as docker
// writes it: ASCII but for controls, quote, backslash, and what HTML minds.
var plain = [256]bool{
	' ': true, '!': true, '#': true, '$': true, '%': true, '\'': true, '(': true, ')': true,
	'*': true, '+': true, ',': true, '-': true, '.': true, '/': true, '0': true, '1': true,
	'2': true, '3': true, '4': true, '5': true, '6': true, '7': true, '8': true, '9': true,
	':': true, ';': true, '=': true, '?': true, '@': true, 'A': true, 'B': true, 'C': true,
	'D': true, 'E': true, 'F': true, 'G': true, 'H': true, 'I': true, 'J': true, 'K': true,
	'L': true, 'M': true, 'N': true, 'O': true, 'P': true, 'Q': true, 'R': true, 'S': true,
	'T': true, 'U': true, 'V': true, 'W': true, 'X': true, 'Y': true, 'Z': true, '[': true,
	']': true, '^': true, '_': true, '`': true, 'a': true, 'b': true, 'c': true, 'd': true,
	'e': true, 'f': true, 'g': true, 'h': true, 'i': true, 'j': true, 'k': true, 'l': true,
	'm': true, 'n': true, 'o': true, 'p': true, 'q': true, 'r': true, 's': true, 't': true,
	'u': true, 'v': true, 'w': true, 'x': true, 'y': true, 'z': true, '{': true, '|': true,
	'}': true, '~': true, 0x7f: true,
}

const hexDigits = "0123456789abcdef"

// appendEscaped appends text as the inside of a JSON string, byte for byte as
// docker's json-file driver does; a byte that is not UTF-8 becomes \ufffd.
func appendEscaped(dst, text []byte) []byte {
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if plain[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, text[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, text[start:i]...), `\ufffd`...)
			start = i + size
		} else if r == '\u2028' || r == '\u2029' {
			dst = append(append(dst, text[start:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(dst, text[start:]...)
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
