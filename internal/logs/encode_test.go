package logs

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestPlainPrefix tries each byte at each place beside each other byte.
func TestPlainPrefix(t *testing.T) {
	for length := 1; length <= 17; length++ {
		for place := range length {
			for c := range 256 {
				b := bytes.Repeat([]byte{'a'}, length)
				b[place] = byte(c)
				if place+1 < length {
					b[place+1] = byte(c + 1)
				}
				want := 0
				for want < length && isPlain(b[want]) {
					want++
				}
				if got := plainPrefix(b); got != want {
					t.Fatalf("%q: %d plain bytes, want %d", b, got, want)
				}
			}
		}
	}
}

// FuzzEscape compares with encoding/json, which escapes as docker does but for
// the short forms of tab, backspace and form feed, and the sign for what is no text.
func FuzzEscape(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte("<&>\"\\\n\r\t\b\f\x00\x7f\xff\u2028€\U0001f600\xe2\x82"))
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := json.Marshal(string(text))
		if err != nil {
			t.Skip()
		}
		got := string(appendEscaped([]byte{'"'}, text)) + `"`
		if strings.NewReplacer(`\u0009`, `\t`, `\u0008`, `\b`, `\u000c`, `\f`, `\ufffd`, "\ufffd").Replace(got) != strings.ReplaceAll(string(want), `\ufffd`, "\ufffd") && !strings.Contains(string(text), `\u00`) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		back, rest, ok := appendUnescaped(nil, []byte(got[1:]))
		if !ok || len(rest) > 0 || string(back) != strings.ToValidUTF8(string(text), "\ufffd") && utf8.Valid(text) {
			t.Errorf("%q came back as %q", text, back)
		}
	})
}

// FuzzEntry: what our parser takes is what encoding/json reads.
func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`))
	f.Add([]byte(`{"log":"\u00e4\ud83d\ude00\ud83d","stream":"stderr","attrs":{"a":"b"},"time":"2026-02-30T12:00:00+01:00"}`))
	f.Add([]byte(`{"log":"a`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if !json.Valid(line) || !utf8.Valid(line) {
			var e Entry
			e.parse(line) // must not panic
			return
		}
		var own, other Entry
		if !own.parseOwn(line) {
			return
		}
		if !other.parseAny(line) || own.Stream != other.Stream || string(own.Text) != string(other.Text) || !own.Time.Equal(other.Time) {
			t.Errorf("%s\nown   %+v\nother %+v", line, own, other)
		}
	})
}

// FuzzLog: any file can be read, and what a writer appends to it afterwards is
// found.
func FuzzLog(f *testing.F) {
	f.Add([]byte(line(Stdout, 1, "a\n") + `{"log":"b`))
	f.Add([]byte("\x00\x00\n\n"))
	f.Add([]byte(line(Stdout, 1, "a")))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := files(t, false, string(content))
		for _, tail := range []int{All, 0, 2} {
			read(t, dir, ReadOptions{Tail: tail})
		}
		w := mustOpen(t, dir, mustParse(t, ""))
		w.Stream(Stdout).Write([]byte("after\n"))
		w.Close()
		// What was there may end in the middle of a line, which then goes on.
		if got := read(t, dir, ReadOptions{Tail: 1}); !strings.HasSuffix(got, "after\n") {
			t.Errorf("got %q", got)
		}
	})
}
