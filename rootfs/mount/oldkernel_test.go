package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

// The calls of newer kernels, and what is done without them.

func TestOldOverlay(t *testing.T) {
	if !mounttest.Run(t) || mounttest.Nest(t, "x") == "" {
		return
	}
	mounttest.Deny(t, unix.SYS_FSOPEN)
	dir := t.TempDir()
	lower := makeLayers(t, dir, 130)
	target := filepath.Join(dir, "root")
	before, _ := os.Getwd()
	if err := Overlay(target, lower, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), OverlayOptions{Volatile: true}); err != nil {
		t.Fatal(err)
	}
	unmountAtEnd(t, target)
	if read(t, filepath.Join(target, "same")) != "0" {
		t.Error("wrong order")
	}
	if after, _ := os.Getwd(); after != before {
		t.Errorf("the working directory moved to %s", after)
	}
	if err := OverlaySupported(dir); err != nil {
		t.Error(err)
	}
}

func TestOldBinds(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	outer := t.TempDir()
	if os.Getenv("BRYO_TEST_NESTED") == "" {
		unix.Mount("tmpfs", outer, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		unmountAtEnd(t, outer)
	}
	locked := mounttest.Nest(t, outer)
	if locked == "" {
		return
	}
	check := func(t *testing.T, source string, want int64) {
		t.Helper()
		staged, err := stage(t, source+":/x:ro", StageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Statfs_t
		if unix.Statfs(staged.Source, &st); st.Flags&want != want {
			t.Errorf("flags %x, want at least %x", st.Flags, want)
		}
	}
	all := func(t *testing.T) {
		check(t, t.TempDir(), unix.ST_RDONLY)
		check(t, locked, unix.ST_RDONLY|unix.ST_NOSUID|unix.ST_NODEV|unix.ST_NOEXEC)
		file := filepath.Join(t.TempDir(), "f")
		write(t, file, "x")
		check(t, file, unix.ST_RDONLY)
		m, _ := ParseMount("type=bind,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate,src="+locked, "/")
		_, err := stageMount(t, m, StageOptions{})
		if err == nil || !strings.Contains(err.Error(), "recursive read-only mounts need kernel 5.12") {
			t.Error(err)
		}
	}
	mounttest.Deny(t, unix.SYS_MOUNT_SETATTR)
	t.Run("before 5.12", all)
	mounttest.Deny(t, unix.SYS_OPEN_TREE, unix.SYS_OPENAT2)
	t.Run("before 5.2", func(t *testing.T) {
		all(t)
		if _, err := stage(t, "/no/such:/x", StageOptions{}); err == nil || err.Error() != "bind source path does not exist: /no/such" {
			t.Error(err)
		}
	})
}
