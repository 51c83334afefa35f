package mount

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

// stage parses one -v value and stages it in a fresh directory.
func stage(t testing.TB, spec string, o StageOptions) (specs.Mount, error) {
	t.Helper()
	m, err := ParseVolume(spec, "/")
	if err != nil {
		t.Fatal(err)
	}
	return stageMount(t, m, o)
}

func stageMount(t testing.TB, m Mount, o StageOptions) (specs.Mount, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "binds")
	out, err := Stage(dir, []Mount{m}, o)
	if err != nil {
		return specs.Mount{}, err
	}
	unmountAtEnd(t, filepath.Join(dir, "0"))
	return out[0], nil
}

func TestStageNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "binds")
	out, err := Stage(dir, []Mount{{Type: Tmpfs, Target: "/t", Tmpfs: []string{"size=1m"}, ReadOnly: true}}, StageOptions{})
	want := []specs.Mount{{Destination: "/t", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec", "nosuid", "nodev", "size=1m", "ro"}}}
	if err != nil || !reflect.DeepEqual(out, want) {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("a plan without binds made the staging directory")
	}
}

func TestStageBinds(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	src := t.TempDir()
	write(t, filepath.Join(src, "file"), "content")
	os.Symlink("file", filepath.Join(src, "link"))
	syscall.Mkfifo(filepath.Join(src, "fifo"), 0o600)

	m, err := stage(t, src+":/data", StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Type != "bind" || m.Destination != "/data" || !slices.Equal(m.Options, []string{"rbind", "rprivate"}) {
		t.Errorf("%+v", m)
	}
	write(t, filepath.Join(m.Source, "new"), "n")
	if read(t, filepath.Join(src, "new")) != "n" {
		t.Error("not the same directory")
	}
	for _, name := range []string{"file", "link"} {
		m, err := stage(t, filepath.Join(src, name)+":/data", StageOptions{})
		if err != nil || read(t, m.Source) != "content" {
			t.Error(name, err)
		}
	}
	if _, err := stage(t, filepath.Join(src, "fifo")+":/data", StageOptions{}); err != nil {
		t.Error("a FIFO:", err)
	}
	_, err = stage(t, "/no/such:/data", StageOptions{})
	if err == nil || err.Error() != "bind source path does not exist: /no/such" {
		t.Error(err)
	}
	_, err = stage(t, filepath.Join(src, "file/x")+":/data", StageOptions{})
	if err == nil || !strings.HasSuffix(err.Error(), "file/x: not a directory") {
		t.Error(err)
	}
}

// A supervisor that starts its container again stages again in the same place.
func TestStageAgain(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	src, dir := t.TempDir(), t.TempDir()
	write(t, filepath.Join(src, "file"), "content")
	for _, source := range []string{src, src, filepath.Join(src, "file"), src} {
		out, err := Stage(dir, []Mount{{Type: Bind, Source: source, Target: "/x"}}, StageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var a, b unix.Stat_t
		unix.Stat(out[0].Source, &a)
		unix.Stat(source, &b)
		if a.Ino != b.Ino {
			t.Errorf("%s is not what is mounted", source)
		}
	}
	table := read(t, "/proc/self/mountinfo")
	if n := strings.Count(table, " "+dir+"/0 "); n != 1 {
		t.Errorf("%d mounts on one place", n)
	}
	unix.Unmount(dir+"/0", unix.MNT_DETACH)
	if read(t, filepath.Join(src, "file")) != "content" {
		t.Error("the source was touched")
	}
}

func TestStageReadOnly(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	src := t.TempDir()
	below := filepath.Join(src, "below")
	os.Mkdir(below, 0o755)
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	unmountAtEnd(t, below)
	for _, c := range []struct {
		mount         string
		top, belowToo bool // writable
	}{
		{"type=bind,dst=/x", true, true},
		{"type=bind,dst=/x,ro", false, false},
		{"type=bind,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate", false, false},
		{"type=bind,dst=/x,ro,bind-recursive=writable", false, true},
	} {
		m, err := ParseMount(c.mount+",src="+src, "/")
		if err != nil {
			t.Fatal(err)
		}
		staged, err := stageMount(t, m, StageOptions{})
		if err != nil {
			t.Fatal(c.mount, err)
		}
		try := func(dir string) bool { return os.WriteFile(filepath.Join(dir, "w"), nil, 0o644) == nil }
		if top, inner := try(staged.Source), try(filepath.Join(staged.Source, "below")); top != c.top || inner != c.belowToo {
			t.Errorf("%s: writable %v, below %v; want %v, %v", c.mount, top, inner, c.top, c.belowToo)
		}
	}
	m, _ := ParseMount("type=bind,dst=/x,bind-nonrecursive,src="+src, "/")
	staged, err := stageMount(t, m, StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(filepath.Join(staged.Source, "below")); len(entries) > 0 {
		t.Error("bind-nonrecursive took a mount below along")
	}
}

// What the host's mounts forbid is kept: in a user namespace those flags are
// locked, and a remount that drops them fails with EPERM.
func TestStageFlags(t *testing.T) {
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
	staged, err := stage(t, locked+":/x:ro", StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	unix.Statfs(staged.Source, &st)
	want := int64(unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC)
	if st.Flags&want != want {
		t.Errorf("flags %x, want at least %x", st.Flags, want)
	}
	src := t.TempDir()
	staged, err = stage(t, src+":/x:noexec,nosuid,nodev", StageOptions{})
	unix.Statfs(staged.Source, &st)
	if want &^= unix.ST_RDONLY; err != nil || st.Flags&want != want {
		t.Errorf("flags %x, want at least %x: %v", st.Flags, want, err)
	}
	if _, err := stage(t, src+":/x:exec", StageOptions{}); err != nil {
		t.Error("exec where nothing forbids it:", err)
	}
	_, err = stage(t, locked+":/x:exec", StageOptions{})
	if err == nil || !strings.Contains(err.Error(), "which a user namespace may not lift") {
		t.Error(err)
	}
	_, err = stageMount(t, Mount{Type: Bind, Source: "/", Target: "/x", Bind: BindOptions{NonRecursive: true}}, StageOptions{})
	if err == nil || !strings.Contains(err.Error(), "bind mount source /: it has mounts below it, which a user namespace may not uncover") {
		t.Error(err)
	}
}

func TestStageProcTarget(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	if _, err := stage(t, "/proc:/proc", StageOptions{}); err != nil {
		t.Error(err)
	}
	_, err := stage(t, t.TempDir()+":/proc", StageOptions{})
	if err == nil || !strings.Contains(err.Error(), `"/proc" cannot be mounted because it is not of type proc`) {
		t.Error(err)
	}
}

func TestStagePropagation(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	src := t.TempDir()
	unix.Mount("tmpfs", src, "tmpfs", 0, "")
	unmountAtEnd(t, src)
	for _, c := range []struct {
		option string
		make   uintptr
		err    string
	}{
		{"rprivate", unix.MS_PRIVATE, ""},
		{"rslave", unix.MS_PRIVATE, "path " + src + " is mounted on " + src + " but it is not a shared or slave mount"},
		{"rshared", unix.MS_PRIVATE, "path " + src + " is mounted on " + src + " but it is not a shared mount"},
		{"slave", unix.MS_SHARED, ""},
		{"shared", unix.MS_SHARED, ""},
	} {
		if err := unix.Mount("", src, "", c.make, ""); err != nil {
			t.Fatal(err)
		}
		staged, err := stage(t, src+":/x:"+c.option, StageOptions{})
		if c.err == "" && (err != nil || staged.Options[1] != c.option) || c.err != "" && (err == nil || err.Error() != c.err) {
			t.Errorf("%s: %+v, %v", c.option, staged, err)
		}
	}
}

func TestStageChown(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	if mounttest.Size() == 1 {
		t.Skip("one uid only: nobody else to give files to")
	}
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "x")
	src := t.TempDir()
	os.MkdirAll(filepath.Join(src, "a/b"), 0o700)
	write(t, filepath.Join(src, "a/b/f"), "x")
	os.Symlink(outside, filepath.Join(src, "a/link"))
	os.Symlink(filepath.Dir(outside), filepath.Join(src, "dirlink"))
	other := filepath.Join(src, "other")
	os.Mkdir(other, 0o755)
	unix.Mount("tmpfs", other, "tmpfs", 0, "")
	unmountAtEnd(t, other)
	write(t, filepath.Join(other, "f"), "x")

	if _, err := stage(t, src+":/x:U,ro", StageOptions{UID: 33, GID: 34}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{"": 33, "a": 33, "a/b/f": 33, "a/link": 33, "dirlink": 33, "other/f": 0} {
		var st unix.Stat_t
		unix.Lstat(filepath.Join(src, name), &st)
		if st.Uid != want {
			t.Errorf("%s belongs to %d, want %d", name, st.Uid, want)
		}
	}
	var st unix.Stat_t
	if unix.Lstat(outside, &st); st.Uid != 0 {
		t.Error("chown went through a link")
	}
	file := filepath.Join(src, "a/b/f")
	if _, err := stage(t, file+":/x:U", StageOptions{UID: 5, GID: 6}); err != nil {
		t.Fatal(err)
	}
	if unix.Lstat(file, &st); st.Uid != 5 || st.Gid != 6 {
		t.Errorf("file belongs to %d:%d", st.Uid, st.Gid)
	}
}

// No descriptor stays open: what is left would be the container's (A55).
func TestNothingLeaks(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	open := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	dir := t.TempDir()
	lower := makeLayers(t, dir, 3)
	round := func(n string) {
		sub := func(name string) string { return filepath.Join(dir, name+n) }
		if err := Overlay(sub("root"), lower, sub("upper"), sub("work"), OverlayOptions{}); err != nil {
			t.Fatal(err)
		}
		unmountAtEnd(t, sub("root"))
		Overlay(sub("x"), append(lower, "/none"), sub("upper2"), sub("work2"), OverlayOptions{})
		(&layers{lower: lower, userXattr: true}).mountOld(sub("root"))
		unmountAtEnd(t, sub("root"))
		Dev(sub("dev"), []Device{{"/dev/zero", "/dev/a/b", "rwm"}})
		unmountAtEnd(t, sub("dev"))
		stage(t, dir+":/x:ro,U", StageOptions{})
		stage(t, "/none:/x", StageOptions{})
		stage(t, dir+":/x:rshared", StageOptions{})
		os.Mkdir(sub("copy"), 0o755)
		CopyTree(sub("copy"), lower)
		OverlaySupported(dir)
	}
	round("1")
	before := open()
	round("2")
	if after := open(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestStageSubpath(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	secret := t.TempDir()
	vol := t.TempDir()
	os.MkdirAll(filepath.Join(vol, "a/b"), 0o755)
	write(t, filepath.Join(vol, "a/b/f"), "inside")
	os.Symlink("a/b", filepath.Join(vol, "in"))
	os.Symlink(secret, filepath.Join(vol, "out"))
	os.Symlink("../../../../../../../.."+secret, filepath.Join(vol, "dots"))
	o := StageOptions{Volume: func(m Mount) (Mount, error) {
		m.Type, m.Source = Bind, vol
		return m, nil
	}}
	for sub, wantErr := range map[string]string{"a/b": "", "in": "", "out": "invalid cross-device link",
		"dots": "invalid cross-device link", "none": "no such file or directory"} {
		staged, err := stageMount(t, Mount{Type: Volume, Source: "vol", Target: "/x", Volume: VolumeOptions{Subpath: sub}}, o)
		if wantErr == "" {
			if err != nil || read(t, filepath.Join(staged.Source, "f")) != "inside" {
				t.Error(sub, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: %v", sub, err)
		}
	}
}

// A68: between the check of a source and its mount, a second process swaps the
// name for a link to a secret, ten thousand times or for ten seconds. What was
// pinned is what is mounted.
func TestPinRace(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	base := t.TempDir()
	good, secret, name := filepath.Join(base, "good"), filepath.Join(base, "secret"), filepath.Join(base, "name")
	os.Mkdir(good, 0o755)
	os.Mkdir(secret, 0o755)
	write(t, filepath.Join(good, "which"), "good")
	write(t, filepath.Join(secret, "which"), "secret")
	os.Mkdir(name, 0o755)
	write(t, filepath.Join(name, "which"), "good")
	link := filepath.Join(base, "link")
	os.Symlink(secret, link)

	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !done.Load() {
			unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
		}
	}()
	defer func() { // before the folder goes
		done.Store(true)
		<-ended
	}()
	target := filepath.Join(base, "target")
	os.Mkdir(target, 0o755)
	wins, tries := 0, 0
	for end := time.Now().Add(raceTime(10)); tries < 10000 && time.Now().Before(end); tries++ {
		p, err := Pin(name, true)
		if err != nil {
			t.Fatal(err)
		}
		// The check that a caller makes; then the mount, by the same descriptor.
		checked := read(t, fdPath(p.fd)+"/which")
		if err := p.Attach(target); err != nil {
			t.Fatal(err)
		}
		if read(t, filepath.Join(target, "which")) != checked {
			wins++
		}
		unix.Unmount(target, unix.MNT_DETACH)
		p.Close()
	}
	t.Logf("%d tries, %d wins", tries, wins)
	if wins > 0 {
		t.Error("what was mounted is not what was checked")
	}
}

// The same for chown: while a container's user swaps directories for links, U
// reaches nothing outside of the source.
func TestChownRace(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	if mounttest.Size() == 1 {
		t.Skip("one uid only: nobody else to give files to")
	}
	base := t.TempDir()
	src, secret := filepath.Join(base, "src"), filepath.Join(base, "secret")
	os.MkdirAll(filepath.Join(src, "dir"), 0o755)
	os.Mkdir(secret, 0o755)
	write(t, filepath.Join(secret, "canary"), "x")
	write(t, filepath.Join(src, "dir/canary"), "x")
	os.Symlink(secret, filepath.Join(src, "link"))
	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !done.Load() {
			unix.Renameat2(unix.AT_FDCWD, src+"/dir", unix.AT_FDCWD, src+"/link", unix.RENAME_EXCHANGE)
		}
	}()
	defer func() { // before the folder goes
		done.Store(true)
		<-ended
	}()
	tries := 0
	for end := time.Now().Add(raceTime(5)); tries < 10000 && time.Now().Before(end); tries++ {
		p, err := Pin(src, true)
		if err != nil {
			t.Fatal(err)
		}
		m := Mount{Type: Bind, Source: src, Target: "/x", Chown: true}
		err = m.prepare(p, StageOptions{UID: uint32(tries%100 + 1), GID: 1})
		p.Close()
		if err != nil && !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(secret, "canary"), &st); st.Uid != 0 {
			t.Fatalf("try %d: chown reached a file outside", tries)
		}
	}
	t.Logf("%d tries", tries)
}

func raceTime(seconds int) time.Duration {
	if testing.Short() {
		seconds = 1
	}
	return time.Duration(seconds) * time.Second
}

func BenchmarkStageBind(b *testing.B) {
	needNamespace(b)
	src, dir := b.TempDir(), b.TempDir()
	for b.Loop() {
		if _, err := Stage(dir, []Mount{{Type: Bind, Source: src, Target: "/x", ReadOnly: true}}, StageOptions{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		unix.Unmount(filepath.Join(dir, "0"), unix.MNT_DETACH)
		os.Remove(filepath.Join(dir, "0"))
		b.StartTimer()
	}
}
