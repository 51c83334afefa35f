package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

// TestDeleteStopsAtMounts: what is bound below a container's directory are the
// user's own files.
func TestDeleteStopsAtMounts(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	d, precious := Open(t.TempDir()), t.TempDir()
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	at := filepath.Join(d.Path(id), "stage", "0")
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(precious, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(precious, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(id, ""); err == nil || !strings.Contains(err.Error(), "is mounted") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(precious, "file")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(id, ""); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Path(id)); !os.IsNotExist(err) {
		t.Errorf("left: %v", err)
	}
}
