package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// ExtractOptions say how Extract writes.
type ExtractOptions struct {
	// Owner decides whose a file becomes; nil: the caller's. Files that keep no
	// owner lose their set-id bits: they were meant for somebody else.
	Owner func(h *tar.Header) (uid, gid int, err error)
	// Follow resolves the directories of entries through links where the plain
	// way meets one; nil: such an entry is refused.
	Follow func(dir string) (int, error)
	// Copied is told the bytes of files as they are written; nil: nobody is.
	Copied func(bytes int64)
}

// Extract writes the entries of a tar stream to a place. Directories that exist
// are merged, files are replaced, neither replaces the other. A file appears
// whole or not at all.
func Extract(ctx context.Context, r *tar.Reader, p Place, o ExtractOptions) error {
	x := &extractor{ExtractOptions: o, tar: r, place: p, lastFD: -1, buffer: make([]byte, 256<<10)}
	defer x.forget()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if err == io.EOF {
			return x.finishDirs()
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := x.entry(h); err != nil {
			return at(h.Name, err)
		}
	}
}

type extractor struct {
	ExtractOptions
	tar    *tar.Reader
	place  Place
	last   string // directory of the last entry, and its descriptor
	lastFD int
	dirs   []madeDir
	buffer []byte
}

// madeDir gets its mode and time at the end: the mode may forbid its maker to
// write there, and writing changes the time.
type madeDir struct {
	name string
	mode uint32
	when time.Time
}

func (x *extractor) forget() {
	if x.lastFD >= 0 {
		unix.Close(x.lastFD)
	}
	x.lastFD = -1
}

func (x *extractor) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := clean(x.place.name(h.Name))
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("a file has no name of its own")
		}
		return nil // docker: the target directory stays as it is
	}
	parent, err := x.parent(path.Dir(name))
	if err != nil {
		return err
	}
	base := path.Base(name)
	if err := x.makeRoom(parent, base, h); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		x.dirs = append(x.dirs, madeDir{name, x.mode(h), h.ModTime})
		return x.directory(parent, base, h)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return x.file(parent, base, h)
	case tar.TypeSymlink:
		return x.named(parent, base, h, func() error { return unix.Symlinkat(h.Linkname, parent, base) })
	case tar.TypeFifo:
		return x.named(parent, base, h, func() error { return unix.Mknodat(parent, base, unix.S_IFIFO|0o600, 0) })
	case tar.TypeLink:
		return x.link(parent, base, h)
	case tar.TypeChar, tar.TypeBlock:
		return nil // nobody here may make one; what has its name stays
	}
	return fmt.Errorf("type %q is unknown", h.Typeflag)
}

// clean makes a name relative; one with ".." is refused.
func clean(name string) (string, error) {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", errors.New(`leaves the target by ".."`)
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		name = "."
	}
	return name, nil
}

// parent opens the directory of an entry, below the place.
func (x *extractor) parent(dir string) (int, error) {
	if dir == "." {
		return x.place.dir, nil
	}
	if x.lastFD >= 0 && x.last == dir {
		return x.lastFD, nil
	}
	fd, err := x.enter(dir)
	if err != nil {
		return -1, err
	}
	x.forget()
	x.last, x.lastFD = dir, fd
	return fd, nil
}

func (x *extractor) enter(dir string) (int, error) {
	fd, err := inroot.Below(x.place.dir, dir, unix.O_PATH|unix.O_DIRECTORY)
	switch {
	case errors.Is(err, unix.ENOENT):
		return x.makeDirs(dir)
	case x.Follow != nil && (errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)):
		return x.Follow(dir)
	}
	return fd, bare(err)
}

// makeDirs makes the directories that the archive has no entries for.
func (x *extractor) makeDirs(dir string) (int, error) {
	above, err := x.place.dir, error(nil)
	if up := path.Dir(dir); up != "." {
		if above, err = x.enter(up); err != nil {
			return -1, err
		}
		defer unix.Close(above)
	}
	base := path.Base(dir)
	if err := unix.Mkdirat(above, base, 0o755); err != nil && err != unix.EEXIST {
		return -1, err
	}
	fd, err := openDir(above, base)
	if err != nil {
		return -1, err
	}
	if x.Owner != nil {
		uid, gid, err := x.Owner(&tar.Header{})
		if err == nil {
			err = chown(fd, uid, gid)
		}
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func bare(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// makeRoom applies docker's rule: a directory and anything else do not replace
// each other.
func (x *extractor) makeRoom(parent int, base string, h *tar.Header) error {
	var st unix.Stat_t
	err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	isDir := kind(&st) == unix.S_IFDIR
	switch {
	case err != nil:
		return err
	case isDir && h.Typeflag != tar.TypeDir:
		return fmt.Errorf("cannot overwrite directory %q with non-directory", base)
	case !isDir && h.Typeflag == tar.TypeDir:
		return fmt.Errorf("cannot overwrite non-directory %q with directory", base)
	case isDir:
		return nil // merged
	}
	switch h.Typeflag {
	case tar.TypeSymlink, tar.TypeFifo, tar.TypeLink:
		return unix.Unlinkat(parent, base, 0)
	}
	return nil // replaced when the new one is complete, or nothing is made
}

// named makes a file that is never opened, and gives it owner and time.
func (x *extractor) named(parent int, base string, h *tar.Header, create func() error) error {
	if err := create(); err != nil {
		return err
	}
	if x.Owner != nil {
		uid, gid, err := x.Owner(h)
		if err != nil {
			return err
		}
		if err := unix.Fchownat(parent, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
		}
	}
	when := timespec(h.ModTime)
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
}

// link makes a hard link to an earlier entry.
func (x *extractor) link(parent int, base string, h *tar.Header) error {
	target, err := clean(x.place.name(h.Linkname))
	if err != nil || target == "." {
		return fmt.Errorf("hard link to %.200q: not a file of this archive", h.Linkname)
	}
	from := x.place.dir
	if dir := path.Dir(target); dir != "." {
		if from, err = inroot.Below(x.place.dir, dir, unix.O_PATH|unix.O_DIRECTORY); err != nil {
			return bare(err)
		}
		defer unix.Close(from)
	}
	return unix.Linkat(from, path.Base(target), parent, base, 0)
}

// finishDirs gives the directories modes and times, what is below first. What is
// no directory any more is left alone.
func (x *extractor) finishDirs() error {
	for _, dir := range slices.Backward(x.dirs) {
		path, err := inroot.Below(x.place.dir, dir.name, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil && x.Follow != nil {
			path, err = x.Follow(dir.name)
		}
		if err != nil {
			continue
		}
		fd, err := unix.Open(fdPath(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(path)
		if err != nil {
			continue
		}
		err = errors.Join(unix.Fchmod(fd, dir.mode), setTimes(fd, dir.when))
		unix.Close(fd)
		if err != nil {
			return at(dir.name, err)
		}
	}
	return nil
}
