package supervisor

import (
	"strings"
	"testing"
)

func TestShownWords(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		cut  bool
	}{
		"short":   {[]string{"echo", "a b"}, false},
		"long":    {[]string{"echo", strings.Repeat("x", 1<<20)}, true},
		"escapes": {[]string{"sh", "-c", strings.Repeat("\x01", 1400)}, true},
		"wide":    {[]string{strings.Repeat("é", 4000)}, true},
	} {
		got := shownWords(c.args)
		if quotedSize(got) > 1500 {
			t.Errorf("%s: %d bytes", name, quotedSize(got))
		}
		if whole := strings.Join(c.args, " "); (got != whole) != c.cut || strings.HasSuffix(got, "…") != c.cut {
			t.Errorf("%s: got %.40q", name, got)
		}
	}
}
