package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// Tree is where paths are looked up: in a container's root, or on this host.
type Tree struct {
	open func(name string, flags int) (int, error)
}

// Inside looks up paths with the directory root as "/": links and ".." end
// inside of it, whoever swaps what meanwhile.
func Inside(root int) Tree {
	return Tree{func(name string, flags int) (int, error) { return inroot.Open(root, name, flags) }}
}

// Host looks up paths as any program of the user does.
func Host() Tree {
	return Tree{func(name string, flags int) (int, error) {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			err = &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, err
	}}
}

// Source is a file to be copied.
type Source struct {
	FD   int    // O_PATH; the caller closes it
	Name string // the last part of its path as it was asked for; "." for the contents of a directory
	Dir  bool
}

// Source finds what name means. A link at its end is the source itself unless
// follow is set, or the name goes on after it ("link/").
func (t Tree) Source(name string, follow bool) (*Source, error) {
	flags := unix.O_PATH
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := t.open(name, flags)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	switch kind(&st) {
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFSOCK:
		unix.Close(fd)
		return nil, fmt.Errorf("%s: devices and sockets cannot be copied", name)
	}
	s := &Source{FD: fd, Name: path.Base(name), Dir: kind(&st) == unix.S_IFDIR}
	if s.Name == "/" || s.Name == ".." || namesContents(name) {
		s.Name = "."
	}
	return s, nil
}

// Close gives the descriptor back.
func (s *Source) Close() { unix.Close(s.FD) }

// namesContents: "dir/." and "." mean what is in the directory.
func namesContents(name string) bool { return name == "." || strings.HasSuffix(name, "/.") }

// Target is where a copy is to go.
type Target struct {
	Path    string // as asked for
	Exists  bool
	Dir     bool // exists, and is a directory
	wantDir bool // written as one
	tree    Tree
	parent  int    // O_PATH, of the directory that holds it, links at its end followed; -1: there is none above
	base    string // in parent
	self    int    // O_PATH, with Dir
}

// Target finds where name leads. It need not exist, its parent must.
func (t Tree) Target(name string) (*Target, error) {
	target := &Target{Path: name, wantDir: strings.HasSuffix(name, "/") || namesContents(name), tree: t, parent: -1, self: -1}
	plain := strings.TrimRight(strings.TrimSuffix(name, "/."), "/")
	if plain == "" && strings.HasPrefix(name, "/") {
		plain = "/"
	}
	if err := target.find(plain); err != nil {
		target.Close()
		return nil, err
	}
	if target.Exists && !target.Dir && target.wantDir {
		target.Close()
		return nil, &fs.PathError{Op: "copy to", Path: name, Err: unix.ENOTDIR}
	}
	return target, nil
}

// maxLinks is how many links one lookup follows, as the kernel has it.
const maxLinks = 40

// find follows the links at the end of name: the file behind them is the target.
// The rest of the path is the kernel's to resolve, ".." after links included.
func (t *Target) find(name string) error {
	for range maxLinks {
		dir, base := path.Split(name)
		if base == "" || base == "." || base == ".." {
			return t.directory(name)
		}
		if dir == "" {
			dir = "."
		}
		parent, err := t.tree.open(dir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		t.reparent(parent, base)
		link, err := readlink(parent, base)
		switch {
		case err == unix.EINVAL || err == unix.ENOENT:
			return t.look()
		case err != nil:
			return &fs.PathError{Op: "copy to", Path: name, Err: err}
		case strings.HasPrefix(link, "/"):
			name = "/" + strings.Trim(link, "/")
		default:
			name = dir + "/" + strings.TrimRight(link, "/")
		}
	}
	return &fs.PathError{Op: "copy to", Path: t.Path, Err: unix.ELOOP}
}

func (t *Target) reparent(fd int, base string) {
	if t.parent >= 0 {
		unix.Close(t.parent)
	}
	t.parent, t.base = fd, base
}

// look judges the found name; a link that was put there since is none of ours.
func (t *Target) look() error {
	fd, err := unix.Openat(t.parent, t.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "copy to", Path: t.Path, Err: err}
	}
	return t.adopt(fd)
}

func (t *Target) adopt(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	t.Exists, t.Dir = true, kind(&st) == unix.S_IFDIR
	if !t.Dir {
		unix.Close(fd)
		return t.notDevice(kind(&st))
	}
	t.self = fd
	return nil
}

// notDevice: a copy takes the place of what is there, and /dev/null is to stay.
func (t *Target) notDevice(kind uint32) error {
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		return fmt.Errorf("destination %q must be a directory or a regular file: got a device", t.Path) // docker's words
	}
	return nil
}

// directory is a name that can only be one: "/", "..", "a/..".
func (t *Target) directory(name string) error {
	fd, err := t.tree.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return t.adopt(fd)
}

// Close gives the descriptors back.
func (t *Target) Close() {
	for _, fd := range []int{t.parent, t.self} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	t.parent, t.self = -1, -1
}

// docker's words.
var (
	errCopyDir = errors.New("cannot copy directory")
	errNoDir   = errors.New("no such directory")
)

// Place is where to unpack a source and under which name.
type Place struct {
	dir      int // of the target: not to be closed
	from, to string
	renamed  bool
}

// Place decides as docker cp does: into a directory that exists; else as the
// target, whose parent must exist.
func (t *Target) Place(sourceName string, sourceIsDir bool) (Place, error) {
	switch {
	case t.Dir:
		return Place{dir: t.self}, nil
	case t.Exists && sourceIsDir:
		return Place{}, fmt.Errorf("%s: %w", t.Path, errCopyDir)
	case !t.Exists && !sourceIsDir && t.wantDir:
		return Place{}, fmt.Errorf("%s: %w", t.Path, errNoDir)
	}
	return Place{dir: t.parent, from: sourceName, to: t.base, renamed: true}, nil
}

// name renames the first part of an entry's name.
func (p *Place) name(entry string) string {
	if !p.renamed {
		return entry
	}
	entry = strings.TrimSuffix(entry, "/")
	if entry == p.from {
		return p.to
	}
	if rest, found := strings.CutPrefix(entry, p.from+"/"); found {
		return p.to + "/" + rest
	}
	return entry
}

// CheckLocal refuses a target on this host whose directory does not exist.
func CheckLocal(name string) error {
	dir := path.Dir(path.Clean(name))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("invalid output path: directory %q does not exist", dir)
	}
	return nil
}
