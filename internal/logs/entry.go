package logs

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxLine is the longest line of a file that is taken for an entry: a full
// chunk of escapes and the attributes stay far below.
const maxLine = 1 << 20

// Entry is one line of output, or a piece of one. It is valid until the handler
// that got it returns.
type Entry struct {
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Text   []byte // with its newline; without, the line goes on or was cut by the end

	attrs []byte // a JSON object or empty
	valid []byte // attributes that were found to be JSON: those of all lines, mostly
}

// Whole tells that the line ends here.
func (e *Entry) Whole() bool { return len(e.Text) > 0 && e.Text[len(e.Text)-1] == '\n' }

// Attrs are the values that the log options labels, env and tag asked for.
func (e *Entry) Attrs() map[string]string {
	var attrs map[string]string
	_ = json.Unmarshal(e.attrs, &attrs)
	return attrs
}

// parse reads a line of a log file, without its newline, into e, whose Text is
// reused. It tells whether the line is an entry.
func (e *Entry) parse(line []byte) bool {
	return e.parseOwn(line) || e.parseAny(line)
}

// parseOwn takes lines in the one shape that json-file writers make, without a
// JSON decoder: a log of a gigabyte has ten million of them.
func (e *Entry) parseOwn(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte(`{"log":"`))
	if !ok {
		return false
	}
	if e.Text, rest, ok = appendUnescaped(e.Text[:0], rest); !ok {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"stream":"std`)); !ok || len(rest) < 4 {
		return false
	}
	switch string(rest[:4]) {
	case `out"`:
		e.Stream = Stdout
	case `err"`:
		e.Stream = Stderr
	default:
		return false
	}
	if rest, ok = bytes.CutSuffix(rest, []byte(`"}`)); !ok {
		return false
	}
	const key = `,"time":"`
	at := bytes.LastIndex(rest, []byte(key))
	if at < 4 {
		return false
	}
	between, stamp := rest[4:at], rest[at+len(key):]
	if e.attrs, ok = bytes.CutPrefix(between, []byte(`,"attrs":`)); !ok && len(between) > 0 {
		return false
	}
	if !bytes.Equal(e.attrs, e.valid) {
		if !json.Valid(e.attrs) {
			return false
		}
		e.valid = bytes.Clone(e.attrs)
	}
	e.Time, ok = parseTime(stamp)
	return ok
}

// parseAny takes every entry that docker would.
func (e *Entry) parseAny(line []byte) bool {
	var any struct {
		Log    *string         `json:"log"`
		Stream string          `json:"stream"`
		Time   time.Time       `json:"time"`
		Attrs  json.RawMessage `json:"attrs"`
	}
	if json.Unmarshal(line, &any) != nil || any.Log == nil || any.Time.IsZero() {
		return false
	}
	e.Text = append(e.Text[:0], *any.Log...)
	e.Stream, e.Time, e.attrs = any.Stream, any.Time, any.Attrs
	return true
}

// appendUnescaped appends the JSON string that begins b, after its opening
// quote; rest is what follows the closing one.
func appendUnescaped(dst, b []byte) (text, rest []byte, ok bool) {
	for {
		quote := bytes.IndexByte(b, '"')
		if quote < 0 {
			return dst, nil, false
		}
		slash := bytes.IndexByte(b[:quote], '\\')
		if slash < 0 {
			return append(dst, b[:quote]...), b[quote+1:], true
		}
		dst = append(dst, b[:slash]...)
		var n int
		if dst, n = appendUnescape(dst, b[slash:]); n == 0 {
			return dst, nil, false
		}
		b = b[slash+n:]
	}
}

// appendUnescape appends what one escape stands for; n is its length, 0 when it
// is none.
func appendUnescape(dst, b []byte) (text []byte, n int) {
	if len(b) < 2 {
		return dst, 0
	}
	switch c := b[1]; c {
	case '"', '\\', '/':
		return append(dst, c), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'u':
		r, ok := hexRune(b[2:])
		if !ok {
			return dst, 0
		}
		if !utf16.IsSurrogate(r) {
			return utf8.AppendRune(dst, r), 6
		}
		if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
			if low, ok := hexRune(b[8:]); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return utf8.AppendRune(dst, pair), 12
				}
			}
		}
		return utf8.AppendRune(dst, utf8.RuneError), 6
	}
	return dst, 0
}

func hexRune(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// parseTime reads RFC 3339; the form in UTC, which writers use, without
// time.Parse, which would take half the time of reading a log.
func parseTime(b []byte) (time.Time, bool) {
	const form = "0000-00-00T00:00:00"
	if len(b) < len(form)+1 || b[len(b)-1] != 'Z' {
		t, err := time.Parse(time.RFC3339Nano, string(b))
		return t, err == nil
	}
	for i := range form {
		if digit := b[i] >= '0' && b[i] <= '9'; digit != (form[i] == '0') || !digit && b[i] != form[i] {
			return time.Time{}, false
		}
	}
	year, month, day := number(b[0:4]), number(b[5:7]), number(b[8:10])
	hour, minute, second := number(b[11:13]), number(b[14:16]), number(b[17:19])
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	nanos, ok := fraction(b[len(form) : len(b)-1])
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC), ok
}

func fraction(b []byte) (nanos int, ok bool) {
	if len(b) == 0 {
		return 0, true
	}
	if b[0] != '.' || len(b) < 2 || len(b) > 10 {
		return 0, false
	}
	nanos, err := strconv.Atoi(string(b[1:]))
	if err != nil || b[1] == '+' || b[1] == '-' {
		return 0, false
	}
	for range 10 - len(b) {
		nanos *= 10
	}
	return nanos, true
}

func number(digits []byte) int {
	n := 0
	for _, d := range digits {
		n = n*10 + int(d-'0')
	}
	return n
}
