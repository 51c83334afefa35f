package cli

import "testing"

// Each was tried with systemd-analyze verify, which looks the program up.
func TestSystemdWords(t *testing.T) {
	for _, c := range []struct{ path, program, word string }{
		{"/usr/bin/bryo", "/usr/bin/bryo", "/usr/bin/bryo"},
		{"/o p/%h$x/bryo", `"/o p/%%h$x/bryo"`, `"/o p/%%h$$x/bryo"`},
		{"/a'b", `/bin/sh -c 'exec "$$@"' sh "/a'b"`, `"/a'b"`},
		{`/a"$b`, `/bin/sh -c 'exec "$$@"' sh "/a\"$$b"`, `"/a\"$$b"`},
	} {
		if got := systemdProgram(c.path); got != c.program {
			t.Errorf("%s as a program: %s, want %s", c.path, got, c.program)
		}
		if got := systemdQuote(c.path); got != c.word {
			t.Errorf("%s as a word: %s, want %s", c.path, got, c.word)
		}
	}
}
