package linux_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/rootfs/mount/mounttest"
)

func TestMountsBelow(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	top := filepath.Join(t.TempDir(), `a place\with`, "signs")
	in, beside := filepath.Join(top, "in"), top+"2"
	for _, dir := range []string{in, beside} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(top, link); err != nil {
		t.Fatal(err)
	}
	if got, err := linux.MountsBelow(link); err != nil || len(got) != 0 {
		t.Errorf("before: %q, %v", got, err)
	}
	for _, dir := range []string{in, beside, in} {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Unmount(in, 0)
	defer unix.Unmount(in, 0)
	defer unix.Unmount(beside, 0)
	got, err := linux.MountsBelow(link)
	if want := []string{in, in}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := linux.MountsBelow(filepath.Join(top, "nosuch")); err == nil {
		t.Error("a directory that is not there has no mounts")
	}
}
