package volume

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount"
	"bryo/rootfs/mount/mounttest"
)

// image makes a root with content at /srv/data.
func image(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	at := filepath.Join(root, "srv/data")
	os.MkdirAll(filepath.Join(at, "sub/deeper"), 0o755)
	os.WriteFile(filepath.Join(at, "file"), []byte("from the image"), 0o640)
	os.WriteFile(filepath.Join(at, "sub/deeper/tool"), []byte("#!"), 0o4755)
	os.Chmod(filepath.Join(at, "sub/deeper/tool"), 0o4755|os.ModeSetuid)
	os.Link(filepath.Join(at, "file"), filepath.Join(at, "sub/hard"))
	os.Symlink("/etc/shadow", filepath.Join(at, "sub/link"))
	syscall.Mkfifo(filepath.Join(at, "fifo"), 0o604)
	unix.Setxattr(filepath.Join(at, "file"), "user.note", []byte("kept"), 0)
	os.Chmod(at, 0o711|os.ModeSticky)
	if mounttest.Size() > 1 {
		os.Chown(at, 33, 34)
		os.Lchown(filepath.Join(at, "sub/link"), 5, 6)
		os.Chown(filepath.Join(at, "sub/deeper/tool"), 7, 8)
		os.Chmod(filepath.Join(at, "sub/deeper/tool"), 0o755|os.ModeSetuid)
	}
	past := time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)
	for _, p := range []string{"file", "sub", ""} {
		os.Chtimes(filepath.Join(at, p), past, past)
	}
	return root
}

func source(t *testing.T, s *Store, root, name, target string) (mount.Mount, error) {
	t.Helper()
	if _, err := s.Create(name, CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return s.Source(root, true)(mount.Mount{Type: mount.Volume, Source: name, Target: target})
}

// listing describes a tree: names, types, modes, owners, times, contents.
func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find . -printf '%P %y %m %U %G %n %TY-%Tm-%Td %s %l\n' | grep -v -e '^sub/deeper d' -e '^sub/deeper/tool' | sort; stat -c '%a %U %G' sub/deeper/tool`, "sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestFill(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	root, s := image(t), NewStore(t.TempDir())
	m, err := source(t, s, root, "data", "/srv/data")
	if err != nil {
		t.Fatal(err)
	}
	if m.Type != mount.Bind || m.Source != filepath.Join(s.dir, "data/_data") {
		t.Errorf("%+v", m)
	}
	want, got := listing(t, filepath.Join(root, "srv/data")), listing(t, m.Source)
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	note := make([]byte, 16)
	if n, err := unix.Getxattr(filepath.Join(m.Source, "file"), "user.note", note); err != nil || string(note[:n]) != "kept" {
		t.Errorf("attribute: %q, %v", note, err)
	}

	// What a program deleted stays deleted at the next start; another container
	// that finds the volume empty fills it again, as docker does.
	os.RemoveAll(filepath.Join(m.Source, "sub"))
	if _, err := source(t, s, root, "data", "/srv/data"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(m.Source, "sub")); err == nil {
		t.Error("a volume with content was filled again")
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "data/cop*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

func TestFillNot(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	root := image(t)
	for _, c := range []struct {
		name string
		fill bool
		m    mount.Mount
	}{
		{"nocopy", true, mount.Mount{Target: "/srv/data", Volume: mount.VolumeOptions{NoCopy: true}}},
		{"later start", false, mount.Mount{Target: "/srv/data"}},
		{"not in the image", true, mount.Mount{Target: "/srv/none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewStore(t.TempDir())
			s.Create("data", CreateOptions{})
			c.m.Type, c.m.Source = mount.Volume, "data"
			m, err := s.Source(root, c.fill)(c.m)
			if err != nil {
				t.Fatal(err)
			}
			if entries, _ := os.ReadDir(m.Source); len(entries) > 0 {
				t.Errorf("filled: %v", entries)
			}
		})
	}
}

// An image whose directory is a link gets what lies there inside its root, never
// the host's (A25, CVE-2020-1726).
func TestFillThroughLinks(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	secret := t.TempDir()
	os.WriteFile(filepath.Join(secret, "canary"), []byte("secret"), 0o644)
	for _, c := range []struct{ name, link string }{
		{"absolute", secret},
		{"dotted", strings.Repeat("../", 30) + secret},
		{"fd", "/proc/self/fd/3"},
		{"cwd", "/proc/self/cwd"},
		{"root", "/proc/self/root" + secret},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, s := t.TempDir(), NewStore(t.TempDir())
			os.Symlink(c.link, filepath.Join(root, "data"))
			os.Mkdir(filepath.Join(root, "proc"), 0o755)
			if err := unix.Mount("/proc", filepath.Join(root, "proc"), "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
				defer unix.Unmount(filepath.Join(root, "proc"), unix.MNT_DETACH)
			}
			m, err := source(t, s, root, "data", "/data")
			t.Log(err)
			if err == nil {
				if entries, _ := os.ReadDir(m.Source); len(entries) > 0 {
					t.Errorf("copied %v", entries)
				}
			}
		})
	}
	t.Run("inside", func(t *testing.T) {
		root, s := image(t), NewStore(t.TempDir())
		os.Symlink("/srv/data", filepath.Join(root, "data"))
		m, err := source(t, s, root, "data", "/data")
		if _, statErr := os.Stat(filepath.Join(m.Source, "file")); err != nil || statErr != nil {
			t.Error(err, statErr)
		}
	})
	t.Run("to the root", func(t *testing.T) {
		root, s := image(t), NewStore(t.TempDir())
		os.Symlink("..", filepath.Join(root, "srv/up"))
		if _, err := source(t, s, root, "data", "/srv/up"); err == nil || !strings.Contains(err.Error(), "destination can't be '/'") {
			t.Error(err)
		}
	})
	t.Run("file", func(t *testing.T) {
		root, s := image(t), NewStore(t.TempDir())
		_, err := source(t, s, root, "data", "/srv/data/file")
		if err == nil || err.Error() != "fill volume data from /srv/data/file: the image has a file there: not a directory" {
			t.Error(err)
		}
	})
}

func TestFillConcurrently(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	root, s := image(t), NewStore(t.TempDir())
	s.Create("data", CreateOptions{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			m, err := s.Source(root, true)(mount.Mount{Type: mount.Volume, Source: "data", Target: "/srv/data"})
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(m.Source, "sub/deeper/tool")); err != nil {
				t.Error("mounted before it was full:", err)
			}
		})
	}
	wg.Wait()
}

// The supervisor is killed at any moment of a copy; the next start completes it.
func TestFillKilled(t *testing.T) {
	if root := os.Getenv("BRYO_TEST_FILL"); root != "" {
		s := NewStore(os.Getenv("BRYO_TEST_STORE"))
		s.Source(root, true)(mount.Mount{Type: mount.Volume, Source: "data", Target: "/srv/data"})
		return
	}
	if !mounttest.Run(t) {
		return
	}
	root := image(t)
	for i := range 200 {
		name := filepath.Join(root, "srv/data", fmt.Sprintf("many%d", i))
		os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 5000), 0o644)
	}
	want := listing(t, filepath.Join(root, "srv/data"))
	stages := map[string]int{}
	stop := time.Now().Add(3 * time.Second)
	for delay := time.Duration(0); time.Now().Before(stop) && delay < 40*time.Millisecond; delay += 300 * time.Microsecond {
		base := t.TempDir()
		s := NewStore(base)
		// Brief: the fsync of a busy machine would hide the short stages.
		s.Create("data", CreateOptions{Labels: map[string]string{AnonymousLabel: ""}, Brief: true})
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestFillKilled$")
		cmd.Env = append(os.Environ(), "BRYO_TEST_FILL="+root, "BRYO_TEST_STORE="+base)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(s.dir, "data")
		for range 2000 { // from the moment it begins
			if names, _ := filepath.Glob(dir + "/fill.lock"); len(names) > 0 {
				break
			}
			time.Sleep(20 * time.Microsecond)
		}
		time.Sleep(delay)
		cmd.Process.Kill()
		cmd.Wait()
		stages[stage(dir)]++
		m, err := s.Source(root, true)(mount.Mount{Type: mount.Volume, Source: "data", Target: "/srv/data"})
		if err != nil {
			t.Fatalf("after %v: %v", delay, err)
		}
		if got := listing(t, m.Source); withoutTop(got) != withoutTop(want) {
			t.Fatalf("after %v: got:\n%s\nwant:\n%s", delay, got, want)
		}
		os.RemoveAll(base)
	}
	t.Log(stages)
	if stages["copying"] == 0 {
		t.Error("no kill hit the copy: the test proves nothing")
	}
}

func stage(dir string) string {
	for _, name := range []string{"copying", "copied"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return name
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "_data")); len(entries) > 0 {
		return "done"
	}
	return "not begun"
}

// withoutTop leaves the directory's own line out: a kill between the moves costs
// the exact time of the volume's root, nothing else.
func withoutTop(listing string) string {
	_, rest, _ := strings.Cut(listing, "\n")
	return rest
}

// Killed between "complete" and "moved": the moves go on without the image.
func TestFinishWithoutImage(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	s := NewStore(t.TempDir())
	v, _ := s.Create("data", CreateOptions{})
	copied := filepath.Join(v.dir, "copied")
	os.Mkdir(copied, 0o751)
	os.WriteFile(filepath.Join(copied, "a"), []byte("image"), 0o644)
	os.WriteFile(filepath.Join(copied, "b"), []byte("image"), 0o644)
	os.WriteFile(filepath.Join(v.Data(), "a"), []byte("container"), 0o644)
	if _, err := s.Source("/nonexistent", false)(mount.Mount{Type: mount.Volume, Source: "data", Target: "/x"}); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(filepath.Join(v.Data(), "a"))
	b, _ := os.ReadFile(filepath.Join(v.Data(), "b"))
	if string(a) != "container" || string(b) != "image" {
		t.Errorf("a=%s b=%s", a, b)
	}
	if info, _ := os.Stat(v.Data()); info.Mode().Perm() != 0o751 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := os.Stat(copied); err == nil {
		t.Error("copied/ is still there")
	}
}

// A disk that fills up meanwhile: the error says so, the room is given back, and
// the next start succeeds.
func TestFillDiskFull(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	root, disk := image(t), t.TempDir()
	os.WriteFile(filepath.Join(root, "srv/data/big"), make([]byte, 3<<20), 0o644)
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	s := NewStore(disk)
	if _, err := source(t, s, root, "data", "/srv/data"); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(disk, "volumes/data/cop*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
	unix.Mount("", disk, "", unix.MS_REMOUNT, "size=10m")
	m, err := source(t, s, root, "data", "/srv/data")
	if info, statErr := os.Stat(filepath.Join(m.Source, "big")); err != nil || statErr != nil || info.Size() != 3<<20 {
		t.Error(err, statErr)
	}
	os.WriteFile(filepath.Join(m.Source, "rest"), make([]byte, 20<<20), 0o644) // fills it to the brim
	if err := s.Remove("data", false, unused); err != nil {
		t.Error("rm on a full disk:", err)
	}
}

// No descriptor stays open: what is left would be the container's (A55).
func TestFillLeaksNothing(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	root, s := image(t), NewStore(t.TempDir())
	open := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	source(t, s, root, "warm", "/srv/data")
	before := open()
	for _, target := range []string{"/srv/data", "/srv/data/file", "/srv/none", "/srv"} {
		plan := []mount.Mount{{Type: mount.Volume, Target: target}}
		claim, err := s.Claim(plan, true)
		if err != nil {
			t.Fatal(err)
		}
		s.Source(root, true)(plan[0])
		claim.Release()
		s.Remove(plan[0].Source, true, unused)
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestDriverOptions(t *testing.T) {
	s := NewStore(t.TempDir())
	for _, c := range []struct {
		name    string
		options map[string]string
		want    mount.Mount
	}{
		{"bind", map[string]string{"type": "none", "o": "bind,ro,nosuid", "device": "/srv/x"},
			mount.Mount{Type: mount.Bind, Source: "/srv/x", Target: "/t", ReadOnly: true, Flags: []string{"nosuid"}, Bind: mount.BindOptions{NonRecursive: true}}},
		{"tmpfs", map[string]string{"type": "tmpfs", "o": "size=1m,uid=5", "device": "tmpfs"},
			mount.Mount{Type: mount.Tmpfs, Target: "/t", Tmpfs: []string{"size=1m", "uid=5"}}},
	} {
		if _, err := s.Create(c.name, CreateOptions{Options: c.options}); err != nil {
			t.Fatal(err)
		}
		m, err := s.Source("/", true)(mount.Mount{Type: mount.Volume, Source: c.name, Target: "/t"})
		if err != nil || fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", c.name, m, err, c.want)
		}
	}
}

// withoutCapabilities makes root a plain user as far as this test goes: its thread
// loses all capabilities, and ends with it.
func withoutCapabilities(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	none := make([]unix.CapUserData, 2)
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		t.Fatal(err)
	}
}

// As the plain user a volume with a subuid's files is removed at once; Sweep in
// the namespace deletes the files.
func TestRemoveLeftover(t *testing.T) {
	withoutCapabilities(t)
	s := NewStore(t.TempDir())
	v, _ := s.Create("data", CreateOptions{})
	locked := filepath.Join(v.Data(), "locked")
	os.MkdirAll(filepath.Join(locked, "x"), 0o755)
	os.Chmod(locked, 0)
	defer filepath.WalkDir(s.dir, func(p string, d os.DirEntry, err error) error { return os.Chmod(p, 0o700) })
	err := s.Remove("data", false, unused)
	if err == nil || !strings.Contains(err.Error(), ErrLeftover.Error()) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Get("data"); err == nil {
		t.Error("the volume is still there")
	}
}
