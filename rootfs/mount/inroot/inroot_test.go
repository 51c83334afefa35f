package inroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/mounttest"
)

// tree makes a root with links of every kind and, beside it, a secret.
func tree(t *testing.T) (root int, dir, secret string) {
	t.Helper()
	base := t.TempDir()
	dir, secret = filepath.Join(base, "root"), filepath.Join(base, "secret")
	os.MkdirAll(filepath.Join(dir, "a/b"), 0o755)
	os.Mkdir(secret, 0o755)
	os.WriteFile(filepath.Join(dir, "a/b/f"), []byte("inside"), 0o644)
	os.WriteFile(filepath.Join(secret, "f"), []byte("secret"), 0o644)
	for link, to := range map[string]string{
		"abs": "/a/b", "rel": "a/b", "up": "../../../../../../../a/b", "loop": "loop",
		"out": secret, "dots": "../secret", "proc": "/proc/self/root", "a/back": "..",
	} {
		os.Symlink(to, filepath.Join(dir, link))
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(root) })
	return root, dir, secret
}

func contents(fd int, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 64)
	n, err := unix.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}

type lookup struct {
	name              string
	open, below, into error // nil: reads "inside"
}

func lookups(t *testing.T, cases []lookup) {
	t.Helper()
	root, _, _ := tree(t)
	for _, c := range cases {
		for _, f := range []struct {
			how  string
			open func(int, string, int) (int, error)
			want error
		}{{"Open", Open, c.open}, {"Below", Below, c.below}, {"BelowMount", BelowMount, c.below}, {"Inside", Inside, c.into}} {
			got, err := contents(f.open(root, c.name, unix.O_RDONLY))
			if !errors.Is(err, f.want) || f.want == nil && got != "inside" {
				t.Errorf("%s(%s): %q, %v; want %v", f.how, c.name, got, err, f.want)
			}
		}
	}
}

func TestLookups(t *testing.T) {
	lookups(t, []lookup{
		{"a/b/f", nil, nil, nil},
		{"a/./b//f", nil, nil, nil},
		{"abs/f", nil, unix.ELOOP, unix.EXDEV},
		{"rel/f", nil, unix.ELOOP, nil},
		{"up/f", nil, unix.ELOOP, unix.EXDEV},
		{"out/f", unix.ENOENT, unix.ELOOP, unix.EXDEV},
		{"dots/f", unix.ENOENT, unix.ELOOP, unix.EXDEV},
		{"loop/f", unix.ELOOP, unix.ELOOP, unix.ELOOP},
		{"a/back/a/b/f", nil, unix.ELOOP, nil},
		{"../secret/f", unix.ENOENT, unix.EXDEV, unix.EXDEV},
		{"a/../../secret/f", unix.ENOENT, unix.EXDEV, unix.EXDEV},
		{"none", unix.ENOENT, unix.ENOENT, unix.ENOENT},
	})
	root, _, _ := tree(t)
	if got, err := contents(Open(root, "/a/b/f", unix.O_RDONLY)); got != "inside" {
		t.Error(got, err)
	}
	if fd, err := Open(root, "/", unix.O_PATH); err != nil {
		t.Error(err)
	} else {
		unix.Close(fd)
	}
}

// Without openat2 the same names lead nowhere else; links may be refused where
// the kernel would follow them.
func TestLookupsOldKernel(t *testing.T) {
	if !mounttest.Run(t) || mounttest.Nest(t, "x") == "" {
		return
	}
	mounttest.Deny(t, unix.SYS_OPENAT2)
	root, _, _ := tree(t)
	for name, want := range map[string]string{
		"a/b/f": "inside", "abs/f": "inside", "rel/f": "inside", "up/f": "inside", "a/back/a/b/f": "inside",
		"out/f": "", "dots/f": "", "../secret/f": "", "a/../../secret/f": "", "loop/f": "",
	} {
		if got, err := contents(Open(root, name, unix.O_RDONLY)); got != want {
			t.Errorf("Open(%s): %q, %v", name, got, err)
		}
		got, err := contents(Below(root, name, unix.O_RDONLY))
		if wantBelow := map[bool]string{true: "inside"}[name == "a/b/f"]; got != wantBelow {
			t.Errorf("Below(%s): %q, %v", name, got, err)
		}
		if fd, err := Below(root, strings.TrimSuffix(name, "/f"), unix.O_PATH); err == nil && name != "a/b/f" {
			unix.Close(fd)
			t.Errorf("Below(%s) opened a link", name)
		}
	}
}

// A58: another process swaps a directory on the way for a link to a secret while
// it is looked up. No try may see the secret.
func TestRace(t *testing.T) {
	race(t, 5*time.Second)
}

func TestRaceOldKernel(t *testing.T) {
	if !mounttest.Run(t) || mounttest.Nest(t, "x") == "" {
		return
	}
	mounttest.Deny(t, unix.SYS_OPENAT2)
	race(t, 3*time.Second)
}

func race(t *testing.T, limit time.Duration) {
	t.Helper()
	if testing.Short() {
		limit = time.Second
	}
	root, dir, _ := tree(t)
	var done atomic.Bool
	stopped := make(chan bool)
	go func() {
		for !done.Load() {
			unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/dots", unix.RENAME_EXCHANGE)
		}
		close(stopped)
	}()
	defer func() { done.Store(true); <-stopped }()
	seen := map[string]int{}
	for end := time.Now().Add(limit); seen["tries"] < 200000 && time.Now().Before(end); {
		for _, name := range []string{"a/f", "a/b/f", "dots/f", "dots/../secret/f"} {
			for i, open := range []func(int, string, int) (int, error){Open, Below, Inside} {
				got, _ := contents(open(root, name, unix.O_RDONLY))
				seen["tries"]++
				seen[got]++
				if got == "secret" {
					t.Fatalf("function %d opened %s outside of the root", i, name)
				}
			}
		}
	}
	t.Log(fmt.Sprint(seen))
	if seen["inside"] == 0 {
		t.Error("nothing was opened: the test proves nothing")
	}
}
