package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docker/go-units"
)

// Cell makes a string from an image or a container safe to show in a table:
// control characters, invalid UTF-8 and characters that turn or hide text
// become visible escapes such as \x1b, so that no terminal obeys them.
func Cell(s string) string {
	if !strings.ContainsFunc(s, hostile) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case hostile(r):
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// hostile: C0 and C1 controls, line and paragraph separators, and the invisible
// format characters (direction overrides, zero width) but for the joiners that
// scripts and emoji need.
func hostile(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	if r == zeroWidthJoiner || r == zeroWidthNonJoiner {
		return false
	}
	return unicode.Is(unicode.Cc, r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// ShortID is the first 12 digits of an id or digest, without its "sha256:".
func ShortID(id string) string {
	if _, digits, ok := strings.Cut(id, ":"); ok {
		id = digits
	}
	return id[:min(12, len(id))]
}

// Ellipsis shortens a text to at most length characters, the last one "…".
func Ellipsis(s string, length int) string {
	if utf8.RuneCountInString(s) <= length {
		return s
	}
	if length <= 1 {
		return truncate(s, length)
	}
	return truncate(s, length-1) + "…"
}

// Size is a number of bytes in decimal units and three digits: 72.9MB.
func Size(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// Ago is docker's relative time: "3 weeks ago", "Less than a second ago"; "N/A"
// for the zero time, which images without a date carry.
func Ago(t, now time.Time) string {
	if t.IsZero() || t.Unix() <= 0 {
		return "N/A"
	}
	return Duration(now.Sub(t)) + " ago"
}

// Duration is docker's rough duration: "About a minute", "2 hours".
func Duration(d time.Duration) string { return units.HumanDuration(max(0, d)) }
