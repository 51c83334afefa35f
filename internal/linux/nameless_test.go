package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	text := func(s string) func(*os.File) error {
		return func(f *os.File) error {
			_, err := f.WriteString(s)
			return err
		}
	}
	names := func() (names []string) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	failed := errors.New("failed")
	err := WriteWhole(path, func(f *os.File) error {
		f.WriteString("half")
		if len(names()) != 0 {
			t.Log("this file system has no nameless files")
		}
		return failed
	})
	if err != failed || len(names()) != 0 {
		t.Fatalf("%v, left %v", err, names())
	}
	// What another process left, which had our id and was killed while it replaced.
	leftover := fmt.Sprintf(".bryo-%d", os.Getpid())
	os.WriteFile(filepath.Join(dir, leftover), nil, 0o600)
	for _, content := range []string{"one", "two"} { // new, then over the old one
		if err := WriteWhole(path, text(content)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != content || len(names()) != 2 {
			t.Errorf("got %q, files %v", got, names())
		}
	}
	if err := WriteWhole(path, func(*os.File) error { return failed }); err != failed {
		t.Error(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "two" {
		t.Errorf("a failed write changed the file: %q", got)
	}
	if err := WriteWhole(dir, text("x")); err == nil {
		t.Error("wrote over a directory")
	}
	if err := WriteWhole(filepath.Join(dir, "no", "file"), text("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	if err := WriteWhole("/dev/null", text("x")); err != nil {
		t.Error(err)
	}
}
