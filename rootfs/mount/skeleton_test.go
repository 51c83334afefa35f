package mount

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

// What the image has counts, also that it has none of a name.
func TestSkeletonIsBelowTheImage(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	defer unix.Umask(unix.Umask(0o077))
	dir := t.TempDir()
	layer := filepath.Join(dir, "layer")
	os.MkdirAll(layer+"/etc", 0o755)
	write(t, layer+"/etc/hosts", "image")
	os.Symlink("elsewhere", layer+"/dev")
	if err := unix.Mknod(layer+"/etc/hostname", unix.S_IFCHR, 0); err != nil {
		t.Fatalf("whiteout: %v", err)
	}
	lower := WithSkeleton([]string{layer}, filepath.Join(dir, "skeleton"))
	target := filepath.Join(dir, "root")
	if err := Overlay(target, lower, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), OverlayOptions{}); err != nil {
		t.Fatal(err)
	}
	unmountAtEnd(t, target)
	if got := read(t, target+"/etc/hosts"); got != "image" {
		t.Errorf("hosts of the image is %q", got)
	}
	if to, _ := os.Readlink(target + "/dev"); to != "elsewhere" {
		t.Errorf("link of the image: %q", to)
	}
	if _, err := os.Lstat(target + "/etc/hostname"); !os.IsNotExist(err) {
		t.Errorf("a file that the image removed is back: %v", err)
	}
	for name, mode := range map[string]os.FileMode{"proc": 0o755, "sys": 0o755, "etc/resolv.conf": 0o644} {
		if info, err := os.Stat(filepath.Join(target, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestSkeletonIsLeftOut(t *testing.T) {
	full := make([]string, MaxLayers)
	if got := WithSkeleton(full, t.TempDir()); len(got) != MaxLayers {
		t.Errorf("%d layers, the kernel joins %d", len(got), MaxLayers)
	}
	layers := []string{"a", "b"}
	if got := WithSkeleton(layers[:1], filepath.Join(t.TempDir(), "no", "such")); !slices.Equal(got, []string{"a"}) {
		t.Errorf("where none can be made: %v", got)
	}
	if WithSkeleton(layers[:1], t.TempDir()); layers[1] != "b" {
		t.Error("the caller's list was written to")
	}
}
