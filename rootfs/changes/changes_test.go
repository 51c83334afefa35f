package changes

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootfs/store/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// layer makes a directory of "file=content", "dir/", "gone-" (a whiteout), "dir!"
// (an opaque directory).
func layer(t *testing.T, entries ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, entry := range entries {
		var err error
		name, content, isFile := strings.Cut(entry, "=")
		at := filepath.Join(dir, name)
		switch {
		case isFile:
			err = os.WriteFile(at, []byte(content), 0o644)
		case strings.HasSuffix(entry, "-"):
			err = unix.Mknod(strings.TrimSuffix(at, "-"), unix.S_IFCHR, 0)
		case strings.HasSuffix(entry, "!"):
			at = strings.TrimSuffix(at, "!")
			if err = os.MkdirAll(at, 0o755); err == nil {
				err = unix.Setxattr(at, "user.overlay.opaque", []byte("y"), 0)
			}
		default:
			err = os.MkdirAll(at, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Times alike, so that only what a test changes differs.
	filepath.Walk(dir, func(path string, _ os.FileInfo, _ error) error {
		old := []unix.Timespec{{Sec: 1e9}, {Sec: 1e9}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, old, unix.AT_SYMLINK_NOFOLLOW)
	})
	return dir
}

func hidden(path string, st *unix.Stat_t, _ int, _ string) bool {
	return (path == "/proc" || path == "/etc/hosts" || path == "/by/us" || path == "/made/by/us") && st.Mode&unix.S_IFMT != unix.S_IFLNK
}

func TestWalk(t *testing.T) {
	nstest.Need(t)
	top := []string{"etc/", "etc/passwd=p", "etc/old-", "data!", "data/new=n"}
	bottom := []string{"etc/", "etc/old=o", "etc/group=g", "data/", "data/seed=s", "usr/bin/", "usr/bin/x=x"}
	for name, test := range map[string]struct {
		upper []string
		want  string
	}{
		"nothing":                      {nil, ""},
		"added":                        {[]string{"a=1", "b/", "b/c=2"}, "A /a, A /b, A /b/c"},
		"changed":                      {[]string{"etc/", "etc/passwd=q"}, "C /etc, C /etc/passwd"},
		"changed in the lower layer":   {[]string{"etc/", "etc/group=q"}, "C /etc, C /etc/group"},
		"deleted":                      {[]string{"etc/", "etc/group-", "usr-"}, "C /etc, D /etc/group, D /usr"},
		"deleted what was deleted":     {[]string{"etc/", "etc/old-"}, ""},
		"added what was deleted":       {[]string{"etc/", "etc/old=n"}, "C /etc, A /etc/old"},
		"hidden by an opaque one":      {[]string{"data/", "data/seed=s"}, "C /data, A /data/seed"},
		"directory replaced":           {[]string{"usr!", "usr/new=1"}, "O /usr, D /usr/bin, A /usr/new"},
		"file by a directory":          {[]string{"etc/", "etc/passwd/", "etc/passwd/x=1"}, "C /etc, C /etc/passwd, A /etc/passwd/x"},
		"directory by a file":          {[]string{"usr=1"}, "C /usr"},
		"whiteout of nothing":          {[]string{"none-"}, ""},
		"copied up and the same":       {[]string{"usr/bin/"}, ""},
		"places for mounts":            {[]string{"proc/", "etc/", "etc/hosts=", "by/us/"}, ""},
		"beside a place for a mount":   {[]string{"etc/", "etc/hosts=", "etc/x=1"}, "C /etc, A /etc/x"},
		"beside a made place":          {[]string{"made/by/us/", "made/x=1"}, "A /made, A /made/x"},
		"hostile names are just names": {[]string{".wh.x=1", "a b=1"}, "A /.wh.x, A /a b"},
	} {
		t.Run(name, func(t *testing.T) {
			source := Source{Upper: layer(t, test.upper...), Layers: []string{layer(t, top...), layer(t, bottom...)}, Hidden: hidden}
			var got []string
			err := Walk(context.Background(), source, func(c *Change) error {
				got = append(got, string(c.Kind)+" "+c.Path)
				return nil
			})
			if err != nil || strings.Join(got, ", ") != test.want {
				t.Errorf("got %q (%v), want %q", strings.Join(got, ", "), err, test.want)
			}
		})
	}
}

// Without overlay the whole tree is compared.
func TestWalkWhole(t *testing.T) {
	nstest.Need(t)
	layers := []string{layer(t, "etc/", "etc/passwd=p", "etc/.wh.old=", "data/", "data/.wh..wh..opq=", "data/new=n"), layer(t, "etc/", "etc/old=o", "data/", "data/seed=s", "usr/", "usr/x=x")}
	whole := layer(t, "etc/", "etc/passwd=longer", "data/", "data/new=n", "more=1")
	var got []string
	err := Walk(context.Background(), Source{Upper: layer(t), Whole: whole, Layers: layers}, func(c *Change) error {
		got = append(got, string(c.Kind)+" "+c.Path)
		return nil
	})
	slices.Sort(got)
	if want := "A /more, C /etc, C /etc/passwd, D /usr"; err != nil || strings.Join(got, ", ") != want {
		t.Errorf("got %q (%v), want %q", strings.Join(got, ", "), err, want)
	}
}

// A layer may hide all that is below it, by a file where no overlay is.
func TestWalkOpaqueRoot(t *testing.T) {
	nstest.Need(t)
	layers := []string{layer(t, ".wh..wh..opq=", "new=n"), layer(t, "old=o", "etc/", "etc/x=x")}
	err := Walk(context.Background(), Source{Whole: layer(t, "new=n"), Layers: layers}, func(c *Change) error {
		t.Errorf("%c %s", c.Kind, c.Path)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLayer(t *testing.T) {
	nstest.Need(t)
	source := Source{Upper: layer(t, "a=1", "b/", "b/c=22", "gone-", "d!", "d/e=1"), Layers: []string{layer(t, "gone=1", "d/", "d/old=1")}}
	var stream bytes.Buffer
	any, err := Layer(context.Background(), source, func(uid, gid uint32) (uint32, uint32) { return uid + 5, gid + 6 }, &stream)
	if err != nil || !any {
		t.Fatal(any, err)
	}
	var got []string
	for r := tar.NewReader(&stream); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Nanosecond() != 0 || !strings.Contains(h.Name, ".wh.") && (h.Uid != 5 || h.Gid != 6) {
			t.Errorf("%+v", h)
		}
		got = append(got, h.Name)
	}
	if want := "a b/ b/c d/ d/.wh..wh..opq d/e .wh.gone"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, " "), want)
	}
	any, err = Layer(context.Background(), Source{Upper: layer(t), Layers: source.Layers}, nil, io.Discard)
	if any || err != nil {
		t.Error(any, err)
	}
}
