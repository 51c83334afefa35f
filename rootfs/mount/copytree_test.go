package mount

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

// CopyTree against the kernel: for random stacks of layers, with whiteouts,
// opaque directories and changes of type, both show the same tree.
func TestCopyTreeEqualsOverlay(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	end := time.Now().Add(raceTime(4))
	n := 0
	for seed := uint64(1); seed <= 3000 && time.Now().Before(end); seed++ {
		dir := t.TempDir()
		lower := randomLayers(t, dir, rand.New(rand.NewPCG(seed, seed)))
		merged, copied := filepath.Join(dir, "merged"), filepath.Join(dir, "copied")
		if err := Overlay(merged, lower, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), OverlayOptions{}); err != nil {
			t.Fatal(err)
		}
		os.Mkdir(copied, 0o700)
		if err := CopyTree(copied, lower); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want, got := describe(t, merged), describe(t, copied)
		unix.Unmount(merged, unix.MNT_DETACH)
		if got != want {
			t.Fatalf("seed %d\nlayers:\n%s\nCopyTree:\n%s\noverlay:\n%s", seed, describe(t, dir), got, want)
		}
		n++
	}
	t.Logf("%d stacks", n)
}

func describe(t *testing.T, dir string) string {
	t.Helper()
	// Overlay lists a whiteout in a directory that only one layer has, and then
	// knows no such file: find complains and leaves it out. So do we.
	cmd := exec.Command("sh", "-c", `cd "$1" && find . -mindepth 1 -printf '%P\t%i\t%y %m %U:%G %TY%Tm%Td %l ' \( -type f -exec cat {} \; -o -true \) -printf '\n' 2>/dev/null | sort`, "sh", dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	// Not the count of links, in which overlay includes names it hides, but which
	// names are one file.
	var b strings.Builder
	first := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, rest, _ := strings.Cut(line, "\t")
		ino, rest, _ := strings.Cut(rest, "\t")
		if first[ino] == "" {
			first[ino] = name
		}
		fmt.Fprintf(&b, "%s is %s %s", name, first[ino], rest)
	}
	return b.String()
}

// randomLayers makes 2 to 6 layers out of few names, so that they collide.
func randomLayers(t *testing.T, dir string, r *rand.Rand) (lower []string) {
	t.Helper()
	for i := range 2 + r.IntN(5) {
		layer := filepath.Join(dir, fmt.Sprint("l", i))
		os.Mkdir(layer, 0o755)
		for range 1 + r.IntN(12) {
			randomEntry(t, layer, r)
		}
		filepath.WalkDir(layer, func(p string, d os.DirEntry, err error) error {
			day := time.Date(2000+r.IntN(20), 1, 1+r.IntN(28), 0, 0, 0, 0, time.UTC)
			times := []unix.Timespec{unix.NsecToTimespec(day.UnixNano()), unix.NsecToTimespec(day.UnixNano())}
			return unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW)
		})
		lower = append([]string{layer}, lower...)
	}
	return lower
}

func randomEntry(t *testing.T, layer string, r *rand.Rand) {
	p := layer
	for range r.IntN(3) {
		p = filepath.Join(p, string(rune('a'+r.IntN(3))))
		if os.Mkdir(p, 0o700|os.FileMode(r.IntN(64))) == nil && r.IntN(3) == 0 {
			unix.Setxattr(p, "user.overlay.opaque", []byte("y"), 0)
		}
		if info, err := os.Lstat(p); err != nil || !info.IsDir() {
			return
		}
	}
	name := filepath.Join(p, string(rune('a'+r.IntN(4))))
	switch r.IntN(7) {
	case 0:
		if err := unix.Mknod(name, unix.S_IFCHR, 0); err != nil && err != unix.EEXIST {
			t.Fatal("whiteout:", err)
		}
	case 1:
		os.Symlink(fmt.Sprint("/target", r.IntN(3)), name)
	case 2:
		unix.Mkfifo(name, 0o640)
	case 3:
		other := filepath.Join(layer, string(rune('a'+r.IntN(4))))
		if info, err := os.Lstat(other); err == nil && info.Mode().IsRegular() {
			os.Link(other, name)
		}
	default:
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600|os.FileMode(r.IntN(64)))
		if err == nil {
			fmt.Fprint(f, "content ", r.IntN(1000))
			f.Close()
			if mounttest.Size() > 1 {
				os.Chown(name, r.IntN(100), r.IntN(100))
			}
		}
	}
}

func TestCopyTreeSparse(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	layer, dst := t.TempDir(), t.TempDir()
	f, _ := os.Create(filepath.Join(layer, "sparse"))
	f.WriteAt([]byte("middle"), 1<<30)
	f.Truncate(1 << 40)
	f.Close()
	if err := CopyTree(dst, []string{layer}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	unix.Stat(filepath.Join(dst, "sparse"), &st)
	if st.Size != 1<<40 || st.Blocks*512 > 1<<20 {
		t.Errorf("size %d, %d bytes on disk", st.Size, st.Blocks*512)
	}
	g, _ := os.Open(filepath.Join(dst, "sparse"))
	defer g.Close()
	buf := make([]byte, 6)
	if g.ReadAt(buf, 1<<30); string(buf) != "middle" {
		t.Errorf("%q", buf)
	}
}

// Links in a layer are text. Copying follows none, neither in the layers nor at
// the target (A02), and what overlay alone understands is refused.
func TestCopyTreeHostile(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	secret := t.TempDir()
	write(t, filepath.Join(secret, "canary"), "secret")
	top, bottom, dst := t.TempDir(), t.TempDir(), t.TempDir()
	os.Symlink(secret, filepath.Join(bottom, "d"))
	os.Mkdir(filepath.Join(top, "d"), 0o755)
	write(t, filepath.Join(top, "d/x"), "x")
	os.Mkdir(filepath.Join(bottom, "e"), 0o755)
	write(t, filepath.Join(bottom, "e/x"), "x")
	os.Symlink(secret, filepath.Join(top, "e"))
	if err := CopyTree(dst, []string{top, bottom}); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(secret); len(entries) != 1 {
		t.Errorf("written outside: %v", entries)
	}
	if info, _ := os.Lstat(filepath.Join(dst, "e")); info.Mode()&os.ModeSymlink == 0 {
		t.Error("a link did not stay one")
	}
	if entries, _ := os.ReadDir(filepath.Join(dst, "d")); len(entries) != 1 {
		t.Errorf("the link below the directory was followed: %v", entries)
	}

	os.Mkdir(filepath.Join(top, "moved"), 0o755)
	if err := unix.Setxattr(filepath.Join(top, "moved"), "user.overlay.redirect", []byte("d"), 0); err != nil {
		t.Skip("no user attributes here:", err)
	}
	err := CopyTree(t.TempDir(), []string{top, bottom})
	if err == nil || !strings.Contains(err.Error(), "only overlay can read this layer") {
		t.Error(err)
	}
}

func TestCopyTree500Layers(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	dir := t.TempDir()
	lower := makeLayers(t, dir, 500)
	for _, l := range lower {
		os.MkdirAll(filepath.Join(l, "a/b/c/d/e"), 0o755)
	}
	dst := t.TempDir()
	start := time.Now()
	if err := CopyTree(dst, lower); err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	if read(t, filepath.Join(dst, "same")) != "0" {
		t.Error("wrong order")
	}
	read(t, filepath.Join(dst, "only-499"))
}
