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

func TestParseMounts(t *testing.T) {
	const line = `36 35 98:0 /mnt\0401 /mnt\0542 rw,noatime shared:1 master:2 - overlay none rw,upperdir=/a\134b` + "\n"
	got, err := linux.ParseMounts(line + `37 35 98:1 / /x rw - tmpfs  rw` + "\n")
	want := []linux.Mount{
		{"36", "98:0", "/mnt 1", "/mnt,2", "shared:1 master:2", "overlay", `rw,upperdir=/a\b`},
		{"37", "98:1", "/", "/x", "", "tmpfs", "rw"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, cut := range []string{"900 800\n", "36 35 98:0 / /x rw\n", "36 35 98:0 / /x rw - tmpfs\n"} {
		if got, err := linux.ParseMounts(line + cut); err == nil || len(got) != 1 {
			t.Errorf("line %q: got %q", cut, got)
		}
	}
}

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
