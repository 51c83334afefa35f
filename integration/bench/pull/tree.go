package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/integration/bench/ground"
)

// compare lists every layer of both stores inside a user namespace, entry by
// entry, and returns how many entries it compared. Both stores name layers
// alike: by the contents of the layer and of those below it.
func compare(g *ground.Ground, own, theirs string) (int, error) {
	layers, err := filepath.Glob(own + "/overlay/*/diff")
	if err != nil || len(layers) == 0 {
		return 0, fmt.Errorf("no layers in %s: %v", own, err)
	}
	entries := 0
	for _, layer := range layers {
		id := filepath.Base(filepath.Dir(layer))
		mine, err := listInside(g, layer)
		if err != nil {
			return 0, err
		}
		other, err := listInside(g, filepath.Join(theirs, "overlay", id, "diff"))
		if err != nil {
			return 0, err
		}
		entries += strings.Count(mine, "\n")
		if err := firstDifference(mine, other); err != nil {
			return 0, fmt.Errorf("layer %.12s: %w", id, err)
		}
	}
	return entries, nil
}

func listInside(g *ground.Ground, dir string) (string, error) {
	cmd := g.Inside(filepath.Join(g.Dir, "bench"), "-list", dir)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("list %s: %w: %s", dir, err, ground.LastLine([]byte(complaint.String())))
	}
	return string(out), nil
}

func firstDifference(mine, other string) error {
	a, b := strings.Split(mine, "\n"), strings.Split(other, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Errorf("bryo has\n\t%s\nthe peer\n\t%s", a[i], b[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Errorf("bryo has %d entries, the peer %d", len(a), len(b))
	}
	return nil
}

// list prints a line for each entry of dir: kind and mode, owner, links, size, time,
// attributes, target or the contents' hash.
func list(out io.Writer, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		size, times := st.Size, fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		if d.IsDir() {
			size = 0
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR || path == dir {
			times = "-" // of a deletion, and of a root that no entry of the archive names
		}
		attributes, err := attributesOf(path)
		if err != nil {
			return err
		}
		what, err := contents(path, d)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%q %o %d:%d links %d rdev %d size %d %s %s %s\n", strings.TrimPrefix(path, dir), st.Mode, st.Uid, st.Gid, st.Nlink, st.Rdev, size, times, attributes, what)
		return err
	})
}

func contents(path string, d fs.DirEntry) (string, error) {
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return fmt.Sprintf("%q", target), err
	case d.Type().IsRegular():
		text, err := os.ReadFile(path)
		return fmt.Sprintf("%x", sha256.Sum256(text)), err
	}
	return "", nil
}

func attributesOf(path string) (string, error) {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return "", err
	}
	var list []string
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("%s of %s: %w", name, path, err)
		}
		list = append(list, fmt.Sprintf("%s=%q", name, value[:n]))
	}
	slices.Sort(list)
	return fmt.Sprint(list), nil
}
