package store

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bryo/rootfs/image"
	"bryo/rootfs/store/nstest"
)

func (s *Store) reopen(t *testing.T) *Store {
	t.Helper()
	again, err := Open(s.root, Options{SingleUID: nstest.Single()})
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func (s *Store) noMarks(t *testing.T) {
	t.Helper()
	if marks, err := marksIn(s.root); err != nil || len(marks) > 0 {
		t.Errorf("marks %v %v", marks, err)
	}
}

// interrupted imports base and fails with top, and leaves mark.
func interrupted(t *testing.T, s *Store, boot string) (f *fake, base *fakeLayer) {
	t.Helper()
	base = plainLayer(tarOf("base", "right"))
	top := plainLayer(tarOf("top", "x"))
	top.open = func() (io.ReadCloser, error) {
		for !s.has(layerID("", base.diffID)) {
			time.Sleep(time.Millisecond)
		}
		return nil, io.ErrUnexpectedEOF
	}
	f = newFake("cut", base, top)
	s.mustImport(t, newFake("old", plainLayer(tarOf("old", "x"))), "old")
	if _, err := s.Import(context.Background(), f, ImportOptions{}); err == nil {
		t.Fatal("imported")
	}
	top.open = nil
	s.noMarks(t)
	if err := os.MkdirAll(unsyncedDir(s.root), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(unsyncedDir(s.root), boot+".1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return f, base
}

// F05: the layers of an import that a power loss cut are not believed, whatever
// became of them; images that were complete stay.
func TestPowerLoss(t *testing.T) {
	s := newStore(t, Options{})
	f, base := interrupted(t, s, "another-boot")
	dir := filepath.Join(s.root, "storage/overlay", layerID("", base.diffID))
	for name, torn := range map[string]string{"link": "", "diff/base": "\x00\x00"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = s.reopen(t)
	s.noMarks(t)
	record, err := image.Resolve(s.root, "old", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.root, "storage/overlay", record.Short[0], "old")); err != nil {
		t.Error("the short names of other layers went: ", err)
	}
	if record, err = s.Import(context.Background(), f, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if base.fetched != 2 {
		t.Errorf("the torn layer was fetched %d times", base.fetched)
	}
	if text, err := os.ReadFile(filepath.Join(record.Layers[1], "base")); string(text) != "right" {
		t.Errorf("%q %v", text, err)
	}
	s.Prune(context.Background(), PruneOptions{All: true})
	s.clean(t)
}

// An import that opened the store before the mark was served heals by itself.
func TestPowerLossSeenByImport(t *testing.T) {
	s := newStore(t, Options{})
	f, base := interrupted(t, s, "another-boot")
	if _, err := s.Import(context.Background(), f, ImportOptions{}); err != nil || base.fetched != 2 {
		t.Error(base.fetched, err)
	}
	s.noMarks(t)
}

// So does a commit: its layer may lie there already, torn.
func TestPowerLossSeenByMake(t *testing.T) {
	s := newStore(t, Options{})
	_, base := interrupted(t, s, "another-boot")
	record, err := s.Make(context.Background(), MakeOptions{
		Layer:  func(out io.Writer) (bool, error) { _, err := out.Write(tarOf("made", "x")); return true, err },
		Config: func(*image.Config) error { return nil },
	})
	if err != nil || len(record.Layers) != 1 {
		t.Fatal(record, err)
	}
	if s.has(layerID("", base.diffID)) {
		t.Error("the torn layer is still there")
	}
	s.noMarks(t)
}

// F01: the layers of a killed import are whole, as the kernel has their data.
func TestKilledKeepsLayers(t *testing.T) {
	s := newStore(t, Options{})
	f, base := interrupted(t, s, bootID())
	s = s.reopen(t)
	s.noMarks(t)
	if _, err := s.Import(context.Background(), f, ImportOptions{}); err != nil || base.fetched != 1 {
		t.Error(base.fetched, err)
	}
}

func TestIsLinkName(t *testing.T) {
	for text, want := range map[string]bool{"": false, "\x00\x00": false, "../x": false, "ABCDEFGHIJKLMNOPQRSTUVWXY2": true} {
		if isLinkName([]byte(text)) != want {
			t.Errorf("%q", text)
		}
	}
}
