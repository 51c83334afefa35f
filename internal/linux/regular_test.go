package linux

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadRegular(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("text"), 0o600), unix.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("folder"), 0o700),
		os.Symlink("file", at("link")), os.WriteFile(at("huge"), nil, 0o600), os.Truncate(at("huge"), 1<<30),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if data, err := ReadRegular(at("file"), 100); err != nil || string(data) != "text" {
		t.Errorf("file: %q, %v", data, err)
	}
	for name, want := range map[string]error{
		"fifo": ErrNotRegular, "folder": ErrNotRegular, "huge": ErrNotRegular, "link": unix.ELOOP, "none": os.ErrNotExist,
	} {
		if _, err := ReadRegular(at(name), 100); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
