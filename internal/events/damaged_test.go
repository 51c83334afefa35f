package events

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDamagedJournal: whatever is in the journal's place, nobody waits for it, and the
// next event has a journal again.
func TestDamagedJournal(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"fifo":       func(path string) error { return unix.Mkfifo(path, 0o600) },
		"folder":     func(path string) error { return os.Mkdir(path, 0o700) },
		"loop":       func(path string) error { return os.Symlink(path, path) },
		"link":       func(path string) error { return os.Symlink("/etc/passwd", path) },
		"unreadable": func(path string) error { return os.WriteFile(path, nil, 0) },
		"huge": func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 1<<30)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(folder(root), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(folder(root), fileName)); err != nil {
				t.Fatal(err)
			}
			n := 0
			count := func() error {
				n = 0
				return Read(context.Background(), root, Options{Since: time.Unix(1, 0), Until: time.Now()}, func(*Event) error { n++; return nil })
			}
			if err := count(); err != nil || n != 0 {
				t.Errorf("read %d: %v", n, err)
			}
			Append(root, Event{Type: Container, Action: "die", Actor: Actor{ID: "x"}})
			if err := count(); err != nil || n != 1 {
				t.Errorf("read %d, want 1: %v", n, err)
			}
		})
	}
}
