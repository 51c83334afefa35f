package mount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

// A file of the container's own goes where the image has a regular file, and
// never out of the root, whatever the image's links say.
func TestBindFile(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	source, outside := filepath.Join(t.TempDir(), "own"), t.TempDir()
	write(t, source, "own")
	write(t, filepath.Join(outside, "file"), "host")
	for name, test := range map[string]struct {
		image func(root string)
		at    string // where the file has to be; empty: it has no place
	}{
		"file":    {func(root string) { os.Mkdir(root+"/etc", 0o755); write(t, root+"/etc/hosts", "image") }, "/etc/hosts"},
		"no file": {func(root string) { os.Mkdir(root+"/etc", 0o755) }, ""},
		"link inside": {func(root string) {
			os.Mkdir(root+"/etc", 0o755)
			write(t, root+"/x", "")
			os.Symlink("/x", root+"/etc/hosts")
		}, "/x"},
		"link out":     {func(root string) { os.Mkdir(root+"/etc", 0o755); os.Symlink(outside+"/file", root+"/etc/hosts") }, ""},
		"link dir out": {func(root string) { os.Symlink(outside, root+"/etc") }, ""},
		"link up": {func(root string) {
			os.Mkdir(root+"/real", 0o755)
			write(t, root+"/real/hosts", "")
			os.Symlink("../../../real", root+"/etc")
		}, "/real/hosts"},
		"directory":    {func(root string) { os.MkdirAll(root+"/etc/hosts", 0o755) }, ""},
		"fifo":         {func(root string) { os.Mkdir(root+"/etc", 0o755); unix.Mkfifo(root+"/etc/hosts", 0o644) }, ""},
		"file for dir": {func(root string) { write(t, root+"/etc", "") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			test.image(root)
			fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			err = BindFile(fd, source, "/etc/hosts")
			if test.at == "" {
				if !errors.Is(err, ErrNoPlace) {
					t.Errorf("error %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				defer unix.Unmount(root+test.at, unix.MNT_DETACH)
				if got := read(t, root+test.at); got != "own" {
					t.Errorf("%s is %q", test.at, got)
				}
			}
			if got := read(t, filepath.Join(outside, "file")); got != "host" {
				t.Errorf("outside the root: %q", got)
			}
			if names, _ := os.ReadDir(outside); len(names) != 1 {
				t.Errorf("outside the root: %v", names)
			}
		})
	}
}
