package mount

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

func TestDev(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	defer unix.Umask(unix.Umask(0o077))
	target := filepath.Join(t.TempDir(), "dev")
	start := time.Now()
	if err := Dev(target, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("made in %v", time.Since(start))
	unmountAtEnd(t, target)

	// The exact list (A87).
	var names []string
	entries, _ := os.ReadDir(target)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	for link, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "ptmx": "pts/ptmx"} {
		if got, _ := os.Readlink(filepath.Join(target, link)); got != to {
			t.Errorf("%s -> %s, want %s", link, got, to)
		}
	}
	null, err := os.OpenFile(filepath.Join(target, "null"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if n, err := null.Write([]byte("gone")); n != 4 || err != nil {
		t.Errorf("null: %d, %v", n, err)
	}
	info, _ := os.Stat(target)
	if info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v", info.Mode())
	}
	for _, dir := range devDirs {
		if info, _ := os.Stat(filepath.Join(target, dir)); info.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v", dir, info.Mode())
		}
	}
	var st unix.Statfs_t
	unix.Statfs(target, &st)
	if st.Flags&unix.ST_NOSUID == 0 || int64(st.Blocks)*st.Bsize > 64<<10 {
		t.Errorf("flags %x, %d bytes", st.Flags, int64(st.Blocks)*st.Bsize)
	}
	if err := unix.Mknod(filepath.Join(target, "mem"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))); err == nil {
		t.Error("a device node could be made")
	}
}

func TestDevExtra(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "x")
	for _, c := range []struct {
		spec string
		want string // path below the new /dev, "" for none
		err  string
	}{
		{"/dev/zero:/dev/one", "one", ""},
		{"/dev/zero:/dev/a/b/c", "a/b/c", ""},
		{"/dev/zero:/dev/null", "null", ""},
		{"/dev/nosuch", "", `error gathering device information while adding custom device "/dev/nosuch": no such file or directory`},
		{dir + "/file:/dev/x", "", `adding custom device "` + dir + `/file": not a device node`},
		{dir + ":/dev/x", "", "not a device node"},
		{"/dev/zero:/dev/fd/x", "", "too many levels of symbolic links"},
		{"/dev/zero:/dev/null/x", "", "cross-device"},
	} {
		t.Run(c.spec, func(t *testing.T) {
			d, err := ParseDevice(c.spec)
			if err != nil || !d.InDev() {
				t.Fatal(d, err)
			}
			target := filepath.Join(t.TempDir(), "dev")
			unmountAtEnd(t, target)
			err = Dev(target, []Device{d})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			var st unix.Stat_t
			if err2 := unix.Stat(filepath.Join(target, c.want), &st); err != nil || err2 != nil || st.Rdev != unix.Mkdev(1, 5) {
				t.Errorf("%v, %v, rdev %x", err, err2, st.Rdev)
			}
		})
	}
}

// A directory of devices brings its device nodes, at their places, nothing else;
// and a later device cannot be placed in a directory of the host.
func TestDevDirectory(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "sub"), 0o755)
	write(t, filepath.Join(dir, "sub/node"), "")
	write(t, filepath.Join(dir, "plain"), "secret")
	if err := unix.Mount("/dev/zero", filepath.Join(dir, "sub/node"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmountAtEnd(t, filepath.Join(dir, "sub/node"))
	target := filepath.Join(t.TempDir(), "dev")
	unmountAtEnd(t, target)
	if err := Dev(target, []Device{{Host: dir, Container: "/dev/x", Access: "rwm"}}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(target, "x/sub/node"), &st); err != nil || st.Rdev != unix.Mkdev(1, 5) {
		t.Errorf("%v, rdev %x", err, st.Rdev)
	}
	if _, err := os.Lstat(filepath.Join(target, "x/plain")); err == nil {
		t.Error("a plain file came along")
	}
}

// A swapped /dev/null is noticed (CVE-2025-31133 is the same idea).
func TestDevFakeNull(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	file := filepath.Join(t.TempDir(), "log")
	write(t, file, "")
	for name, source := range map[string]string{"file": file, "other device": "/dev/zero"} {
		if err := unix.Mount(source, "/dev/null", "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(t.TempDir(), "dev")
		err := Dev(target, nil)
		unix.Unmount("/dev/null", unix.MNT_DETACH)
		unix.Unmount(target, unix.MNT_DETACH)
		if err == nil || !strings.Contains(err.Error(), "/dev/null of this host is not device 1:3") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
