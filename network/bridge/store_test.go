package bridge

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a kill left goes with the next change, but not while a network is being made.
func TestSweep(t *testing.T) {
	s := NewStore(t.TempDir())
	s.Sweep()
	left := s.Path(newPrefix + "1")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	there := func() bool { _, err := os.Stat(left); return err == nil }
	lock, err := flock(filepath.Join(s.dir, ".lock"), unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	if s.Sweep(); !there() {
		t.Error("removed while somebody makes one")
	}
	lock.Close()
	if s.Sweep(); there() {
		t.Error("still there")
	}
}
