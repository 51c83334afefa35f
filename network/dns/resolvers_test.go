package dns

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolversAreThoseOfNow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	servers := HostResolvers(path)
	for _, step := range []struct{ text, want string }{
		{"", "127.0.0.1:53"},
		{"# c\nsearch x\nnameserver 192.0.2.1\nnameserver bad\nnameserver 2001:db8::1\n", "192.0.2.1:53 [2001:db8::1]:53"},
		{"nameserver fe80::1%lo\nnameserver ::ffff:192.0.2.9\n", "[fe80::1%lo]:53 192.0.2.9:53"},
		{"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n", "1.1.1.1:53 1.1.1.2:53 1.1.1.3:53"},
	} {
		next := path + ".new"
		if step.text != "" {
			os.WriteFile(next, []byte(step.text), 0o600)
			os.Rename(next, path)
		}
		got := ""
		for i, a := range servers() {
			if i > 0 {
				got += " "
			}
			got += a.String()
		}
		if got != step.want {
			t.Errorf("%q: %s, want %s", step.text, got, step.want)
		}
	}
}
