package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes files of "path=content", "path/" and "path->target" below dir.
func tree(t *testing.T, dir string, entries ...string) {
	t.Helper()
	for _, entry := range entries {
		name, content, isFile := strings.Cut(entry, "=")
		link, target, isLink := strings.Cut(entry, "->")
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, filepath.Join(dir, link))
		case isFile:
			err = os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
		default:
			err = os.MkdirAll(filepath.Join(dir, entry), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// list gives a tree in the same form.
func list(t *testing.T, dir string) (entries []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil || name == ".":
			return err
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			entries = append(entries, name+"->"+target)
		case d.IsDir():
			entries = append(entries, name+"/")
		default:
			text, _ := os.ReadFile(path)
			entries = append(entries, name+"="+string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func openTree(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// copyTree copies as cp does, from a path in one root to a path in another.
func copyTree(from Tree, source string, follow bool, to Tree, target string) error {
	s, err := from.Source(source, follow)
	if err != nil {
		return err
	}
	defer s.Close()
	var stream bytes.Buffer
	w := Writer{Tar: tar.NewWriter(&stream)}
	if err := w.Tree(context.Background(), s.FD, s.Name); err != nil {
		return err
	}
	w.Close()
	d, err := to.Target(target)
	if err != nil {
		return err
	}
	defer d.Close()
	place, err := d.Place(s.Name, s.Dir)
	if err != nil {
		return err
	}
	return Extract(context.Background(), tar.NewReader(&stream), place, ExtractOptions{})
}

func TestCopy(t *testing.T) {
	for name, test := range map[string]struct {
		source, target string
		follow         bool
		want           []string // of the target's root, beside what was there
		fails          string
	}{
		"file to missing":             {"/f", "/new", false, []string{"new=file"}, ""},
		"file into dir":               {"/f", "/d", false, []string{"d/f=file"}, ""},
		"file into dir/":              {"/f", "/d/", false, []string{"d/f=file"}, ""},
		"file to missing dir/":        {"/f", "/new/", false, nil, "no such directory"},
		"file over file":              {"/f", "/old", false, []string{"old=file"}, ""},
		"file over file/":             {"/f", "/old/", false, nil, "not a directory"},
		"file to missing parent":      {"/f", "/no/new", false, nil, "no such file"},
		"dir to missing":              {"/s", "/new", false, []string{"new/", "new/one=1", "new/sub/", "new/sub/two=2"}, ""},
		"dir to missing dir/":         {"/s/", "/new/", false, []string{"new/", "new/one=1", "new/sub/", "new/sub/two=2"}, ""},
		"dir into dir":                {"/s", "/d", false, []string{"d/s/", "d/s/one=1", "d/s/sub/", "d/s/sub/two=2"}, ""},
		"contents into dir":           {"/s/.", "/d", false, []string{"d/one=1", "d/sub/", "d/sub/two=2"}, ""},
		"contents to missing":         {"/s/.", "/new", false, []string{"new/", "new/one=1", "new/sub/", "new/sub/two=2"}, ""},
		"dir over file":               {"/s", "/old", false, nil, "cannot copy directory"},
		"through a link to a dir":     {"/f", "/ld", false, []string{"d/f=file"}, ""},
		"through a link to a file":    {"/f", "/lf", false, []string{"old=file"}, ""},
		"through a link to nothing":   {"/f", "/ln", false, []string{"d/none=file"}, ""},
		"through links without end":   {"/f", "/loop", false, nil, "too many levels"},
		"link itself":                 {"/l", "/new", false, []string{"new->s"}, ""},
		"link/":                       {"/l/", "/new", false, []string{"new/", "new/one=1", "new/sub/", "new/sub/two=2"}, ""},
		"link followed":               {"/l", "/d", true, []string{"d/l/", "d/l/one=1", "d/l/sub/", "d/l/sub/two=2"}, ""},
		"absolute link ends inside":   {"/abs", "/new", true, []string{"new=file"}, ""},
		"up ends inside":              {"/../../f", "/new", false, []string{"new=file"}, ""},
		"target up ends inside":       {"/f", "/../../new", false, []string{"new=file"}, ""},
		"link out of the target":      {"/f", "/out/new", false, nil, "no such file"},
		"link out at the target":      {"/f", "/outfile", false, nil, "no such file"},
		"nothing":                     {"/nosuch", "/new", false, nil, "no such file"},
		"file as a dir":               {"/f/", "/new", false, nil, "not a directory"},
		"dir over a file of its name": {"/clash", "/", false, nil, `cannot overwrite non-directory "old" with directory`},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			from, to, outside := filepath.Join(base, "from"), filepath.Join(base, "to"), filepath.Join(base, "outside")
			tree(t, base, "from/", "to/", "outside/", "outside/f=of the host")
			tree(t, from, "f=file", "s/sub/", "s/one=1", "s/sub/two=2", "l->s", "abs->/f", "clash/old/")
			tree(t, to, "d/", "old=old", "ld->/d", "lf->old", "ln->/d/none", "loop->/loop", "out->"+outside, "outfile->"+outside+"/f")
			if test.source == "/clash" {
				test.source = "/clash/."
			}
			before := list(t, to)
			err := copyTree(Inside(openTree(t, from)), test.source, test.follow, Inside(openTree(t, to)), test.target)
			if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("error %v, want %q", err, test.fails)
			}
			if got := list(t, outside); !slices.Equal(got, []string{"f=of the host"}) {
				t.Fatalf("outside: %v", got)
			}
			var got []string
			for _, entry := range list(t, to) {
				if !slices.Contains(before, entry) {
					got = append(got, entry)
				}
			}
			if test.fails == "" && !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What a hostile archive cannot do on this host.
func TestExtractHostile(t *testing.T) {
	for name, test := range map[string]struct {
		entries []tar.Header
		fails   string
	}{
		"dots":               {[]tar.Header{{Name: "../x", Typeflag: tar.TypeReg}}, `".."`},
		"dots inside":        {[]tar.Header{{Name: "a/../../x", Typeflag: tar.TypeReg}}, `".."`},
		"absolute":           {[]tar.Header{{Name: "/x", Typeflag: tar.TypeReg}}, ""},
		"through a link":     {[]tar.Header{{Name: "l", Linkname: "../outside", Typeflag: tar.TypeSymlink}, {Name: "l/x", Typeflag: tar.TypeReg}}, "l/x"},
		"through an old one": {[]tar.Header{{Name: "old/x", Typeflag: tar.TypeReg}}, "old/x"},
		"hard link out":      {[]tar.Header{{Name: "h", Linkname: "../outside/f", Typeflag: tar.TypeLink}}, "hard link"},
		"hard link by link":  {[]tar.Header{{Name: "h", Linkname: "old/f", Typeflag: tar.TypeLink}}, "h"},
		"device":             {[]tar.Header{{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, ""},
		"set-id":             {[]tar.Header{{Name: "su", Typeflag: tar.TypeReg, Mode: 0o6755}}, ""},
		"file as root":       {[]tar.Header{{Name: ".", Typeflag: tar.TypeSymlink, Linkname: "/"}}, "no name of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			tree(t, base, "to/", "outside/", "outside/f=of the host")
			to := filepath.Join(base, "to")
			tree(t, to, "old->../outside")
			err := extract(t, to, test.entries...)
			if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if got := list(t, filepath.Join(base, "outside")); !slices.Equal(got, []string{"f=of the host"}) {
				t.Errorf("outside: %v", got)
			}
			if info, err := os.Lstat(filepath.Join(to, "su")); err == nil && info.Mode() != 0o755 {
				t.Errorf("mode %v", info.Mode())
			}
			if _, err := os.Lstat(filepath.Join(to, "null")); err == nil {
				t.Error("a device was made")
			}
		})
	}
}

// extract puts entries without content into a directory of the host.
func extract(t *testing.T, dir string, entries ...tar.Header) error {
	t.Helper()
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	for i := range entries {
		if err := w.WriteHeader(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	target, err := Host().Target(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	place, err := target.Place("", true)
	if err != nil {
		t.Fatal(err)
	}
	return Extract(context.Background(), tar.NewReader(&stream), place, ExtractOptions{})
}

// Entries that make nothing leave what has their name.
func TestExtractNothing(t *testing.T) {
	for name, flag := range map[string]byte{"device": tar.TypeChar, "unknown": 'Y'} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree(t, dir, "f=old")
			err := extract(t, dir, tar.Header{Name: "f", Typeflag: flag, Format: tar.FormatGNU})
			if (err == nil) != (flag == tar.TypeChar) {
				t.Error(err)
			}
			if got := list(t, dir); !slices.Equal(got, []string{"f=old"}) {
				t.Errorf("left %q", got)
			}
		})
	}
}

// A stream that ends early leaves no file of the entry that was cut.
func TestExtractCut(t *testing.T) {
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	w.WriteHeader(&tar.Header{Name: "whole", Typeflag: tar.TypeReg, Size: 3, Mode: 0o644})
	w.Write([]byte("abc"))
	w.WriteHeader(&tar.Header{Name: "cut", Typeflag: tar.TypeReg, Size: 1 << 20, Mode: 0o644})
	w.Write(make([]byte, 1000))
	dir := t.TempDir()
	target, err := Host().Target(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	place, _ := target.Place("", true)
	err = Extract(context.Background(), tar.NewReader(&stream), place, ExtractOptions{})
	if err == nil {
		t.Error("no error")
	}
	if got := list(t, dir); !slices.Equal(got, []string{"whole=abc"}) {
		t.Errorf("left %q", got)
	}
}

// Attributes, times, modes and hard links come through.
func TestKept(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	tree(t, from, "d/", "d/f=x")
	when := time.Unix(1e9, 123456789)
	os.Link(filepath.Join(from, "d/f"), filepath.Join(from, "d/g"))
	unix.Mkfifo(filepath.Join(from, "d/p"), 0o600)
	xattr := unix.Setxattr(filepath.Join(from, "d/f"), "user.note", []byte("kept"), 0) == nil
	unix.Setxattr(filepath.Join(from, "d/f"), "user.overlay.opaque", []byte("y"), 0)
	unix.Setxattr(filepath.Join(from, "d/f"), "user.a=b", []byte("lost: no record can name it"), 0)
	os.Chmod(filepath.Join(from, "d/f"), 0o640)
	os.Chtimes(filepath.Join(from, "d/f"), when, when)
	os.Chmod(filepath.Join(from, "d"), 0o555)
	os.Chtimes(filepath.Join(from, "d"), when, when)
	defer os.Chmod(filepath.Join(from, "d"), 0o755)
	defer os.Chmod(filepath.Join(to, "d"), 0o755)
	if err := copyTree(Host(), filepath.Join(from, "d"), false, Host(), to); err != nil {
		t.Fatal(err)
	}
	var f, g unix.Stat_t
	if err := errors.Join(unix.Stat(filepath.Join(to, "d/f"), &f), unix.Stat(filepath.Join(to, "d/g"), &g)); err != nil {
		t.Fatal(err)
	}
	if f.Ino != g.Ino || f.Mode&0o7777 != 0o640 || f.Mtim.Nano() != when.UnixNano() {
		t.Errorf("%+v %+v", f, g)
	}
	if info, _ := os.Stat(filepath.Join(to, "d")); info.Mode().Perm() != 0o555 || !info.ModTime().Equal(when) {
		t.Errorf("directory %v %v", info.Mode(), info.ModTime())
	}
	if info, err := os.Lstat(filepath.Join(to, "d/p")); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		t.Errorf("fifo %v %v", info, err)
	}
	if xattr {
		value := make([]byte, 10)
		if n, err := unix.Getxattr(filepath.Join(to, "d/f"), "user.note", value); err != nil || string(value[:n]) != "kept" {
			t.Errorf("attribute %q %v", value[:max(n, 0)], err)
		}
		if _, err := unix.Getxattr(filepath.Join(to, "d/f"), "user.overlay.opaque", value); err == nil {
			t.Error("overlay's books travel")
		}
	}
}

func FuzzExtract(f *testing.F) {
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	w.WriteHeader(&tar.Header{Name: "a/b", Typeflag: tar.TypeReg, Size: 1})
	w.Write([]byte("x"))
	w.WriteHeader(&tar.Header{Name: "a/l", Typeflag: tar.TypeSymlink, Linkname: "../../outside"})
	w.Close()
	f.Add(stream.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		tree(t, base, "to/", "outside/", "outside/f=of the host")
		target, err := Host().Target(filepath.Join(base, "to"))
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		place, _ := target.Place("", true)
		_ = Extract(context.Background(), tar.NewReader(bytes.NewReader(data)), place, ExtractOptions{})
		entries, _ := os.ReadDir(base)
		if got := list(t, filepath.Join(base, "outside")); len(entries) != 2 || !slices.Equal(got, []string{"f=of the host"}) {
			t.Errorf("outside: %v %v", entries, got)
		}
	})
}
