// Package tree copies layer directories: with shifted owners, by hard link or
// reflink where that is possible, one over the other with deletions applied.
//
// Start reading at Copy. Nothing is opened by a path: each directory is entered
// from the descriptor of the one above, without following symlinks, and only
// regular files are opened, so that what an image has in its layers stays there.
// Left out are archives (package unpack) and overlay mounts.
package tree

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Options say how Copy copies.
type Options struct {
	// Link makes regular files further names of the source's where both are on
	// one file system. Only for trees that nobody writes to.
	Link bool
	// Owner gives the new owner of a file; nil keeps it. An error ends the copy.
	Owner func(uid, gid uint32) (uint32, uint32, error)
	// Merge applies deletions (whiteouts in either form, opaque directories) to
	// what is in the target already; otherwise they are copied like files.
	Merge bool
}

// Copy copies what is in directory from into the existing directory to. Types,
// modes, owners, times, extended attributes and hard links are kept.
func Copy(ctx context.Context, from, to string, options Options) error {
	c := &copier{ctx: ctx, Options: options, linked: map[inode]linkTarget{}, buffer: make([]byte, 256<<10)}
	source, err := openDir(unix.AT_FDCWD, from)
	if err != nil {
		return &os.PathError{Op: "open", Path: from, Err: err}
	}
	defer unix.Close(source)
	target, err := openDir(unix.AT_FDCWD, to)
	if err != nil {
		return &os.PathError{Op: "open", Path: to, Err: err}
	}
	defer unix.Close(target)
	c.top = target
	var st unix.Stat_t
	if err := unix.Fstat(source, &st); err != nil {
		return err
	}
	if err := c.dir(source, target, ""); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := c.dressDir(source, target, &st); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

type inode struct{ dev, ino uint64 }

// linkTarget is where a file with several names was copied first.
type linkTarget struct{ path string }

type copier struct {
	Options
	ctx     context.Context
	top     int // the target's root
	linked  map[inode]linkTarget
	buffer  []byte
	noLink  bool // the file system, or the boundary between two, refuses
	noClone bool
}

// Names and attributes by which layers record deletions.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	opaqueXattr    = "user.overlay.opaque"
)

// dir copies the entries of one directory; at is its path in the target.
func (c *copier) dir(source, target int, at string) error {
	names, err := list(source)
	if err != nil {
		return err
	}
	if c.Merge {
		if err := c.deletions(source, target, names); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if c.Merge && strings.HasPrefix(name, whiteoutPrefix) {
			continue
		}
		path := name
		if at != "" {
			path = at + "/" + name
		}
		if err := c.entry(source, target, name, path); err != nil {
			return fmt.Errorf("%.200s: %w", path, err)
		}
	}
	return nil
}

func list(dir int) ([]string, error) {
	// A descriptor of its own: reading moves the offset.
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), ".")
	defer file.Close()
	return file.Readdirnames(-1)
}

// entry copies one name.
func (c *copier) entry(source, target int, name, path string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(source, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if c.Merge {
		if err := makeRoom(target, name, isDir); err != nil {
			return err
		}
		if isWhiteout(&st) {
			return nil
		}
	}
	if isDir {
		return c.subdir(source, target, name, path, &st)
	}
	if done, err := c.again(target, name, &st); done || err != nil {
		return err
	}
	if err := c.leaf(source, target, name, &st); err != nil {
		return err
	}
	if st.Nlink > 1 {
		c.linked[inode{uint64(st.Dev), st.Ino}] = linkTarget{path}
	}
	return nil
}

// again makes a further name of a file that was copied under another.
func (c *copier) again(target int, name string, st *unix.Stat_t) (bool, error) {
	first, found := c.linked[inode{uint64(st.Dev), st.Ino}]
	if st.Nlink < 2 || !found {
		return false, nil
	}
	err := c.linkFirst(first.path, target, name)
	if c.Merge && err == unix.ENOENT {
		return false, nil // replaced since by another layer
	}
	return true, err
}

// linkFirst links by the path in the target, reached without symlinks.
func (c *copier) linkFirst(path string, target int, name string) error {
	dir, base := ".", path
	if at := strings.LastIndexByte(path, '/'); at >= 0 {
		dir, base = path[:at], path[at+1:]
	}
	parent, err := walk(c.top, dir)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return unix.Linkat(parent, base, target, name, 0)
}

func walk(top int, path string) (int, error) {
	fd, err := openDir(top, ".")
	if err != nil || path == "." {
		return fd, err
	}
	for _, step := range strings.Split(path, "/") {
		next, err := openDir(fd, step)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func (c *copier) subdir(source, target int, name, path string, st *unix.Stat_t) error {
	if err := unix.Mkdirat(target, name, 0o700); err != nil && (!c.Merge || err != unix.EEXIST) {
		return err
	}
	from, err := openDir(source, name)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, err := openDir(target, name)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if c.Merge && isOpaque(from) {
		if err := empty(to); err != nil {
			return err
		}
	}
	if err := c.dir(from, to, path); err != nil {
		return err
	}
	return c.dressDir(from, to, st)
}

func openDir(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// dressDir comes last: writing into a directory changes its time.
func (c *copier) dressDir(from, to int, st *unix.Stat_t) error {
	uid, gid, err := c.owner(st)
	if err != nil {
		return err
	}
	if err := unix.Fchown(to, int(uid), int(gid)); err != nil {
		return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
	}
	if err := c.xattrs(from, to); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	return setTimes(to, st)
}

func (c *copier) owner(st *unix.Stat_t) (uid, gid uint32, err error) {
	if c.Owner == nil {
		return st.Uid, st.Gid, nil
	}
	return c.Owner(st.Uid, st.Gid)
}

// leaf copies everything that is no directory.
func (c *copier) leaf(source, target int, name string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return c.regular(source, target, name, st)
	case unix.S_IFLNK:
		text := make([]byte, 4097)
		n, err := unix.Readlinkat(source, name, text)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(text[:n]), target, name); err != nil {
			return err
		}
	case unix.S_IFIFO:
		if err := unix.Mknodat(target, name, unix.S_IFIFO|st.Mode&0o7777, 0); err != nil {
			return err
		}
	case unix.S_IFCHR:
		if !isWhiteout(st) {
			return nil // no layer can have one
		}
		if err := unix.Mknodat(target, name, unix.S_IFCHR, 0); err != nil {
			return err
		}
	default:
		return nil // sockets and block devices mean nothing in an image
	}
	return c.finish(target, name, st)
}

func (c *copier) finish(target int, name string, st *unix.Stat_t) error {
	uid, gid, err := c.owner(st)
	if err != nil {
		return err
	}
	if err := unix.Fchownat(target, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		// The name was made by this process a moment ago: it is no symlink.
		if err := unix.Fchmodat(target, name, st.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(target, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
