// Package changes tells what a container changed of its image: for diff, and as
// the layer of a commit. It reads the upper directory of the overlay and looks
// each name up in the layers below; where the host mounts no overlay it compares
// the container's own tree with them.
//
// Start reading at Walk. The tree may change meanwhile, and be hostile: each
// directory is entered from the one above without following links, and what
// vanished was not there. Left out: making mounts, and what becomes of a layer
// (package store).
package changes

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"bryo/rootfs/files"
)

// Kind of a change, docker's letters.
type Kind byte

const (
	Added    Kind = 'A'
	Changed  Kind = 'C'
	Deleted  Kind = 'D'
	Replaced Kind = 'O' // a directory that hides the one below: changed, without its old contents
)

// Change is one file that is not as the image has it.
type Change struct {
	Kind Kind
	Path string // absolute
	// Where it is, but for deletions: Name in the open directory Dir, or Dir itself
	// for a directory. Valid during the call.
	Dir  int
	Name string
	Stat unix.Stat_t
	// Implied: a deletion that follows from its directory being Replaced.
	Implied bool
}

// IsDir tells whether it is a directory now.
func (c *Change) IsDir() bool { return c.Kind != Deleted && kind(&c.Stat) == unix.S_IFDIR }

// Source says where a container's changes are.
type Source struct {
	Upper  string   // the overlay's upper directory
	Whole  string   // or, without overlay, the whole tree
	Layers []string // of the image, topmost first
	// Hidden tells of files that the runtime made, places for mounts, which are no
	// changes of the container's as long as they are empty.
	Hidden func(path string, st *unix.Stat_t, dir int, name string) bool
}

// Walk calls visit for each change, a directory before what is in it, in the
// order of names.
func Walk(ctx context.Context, s Source, visit func(*Change) error) error {
	top := s.Upper
	if s.Whole != "" {
		top = s.Whole
	}
	dir, err := openTop(top)
	if errors.Is(err, os.ErrNotExist) {
		return nil // never started
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	below, err := openLayers(s.Layers)
	if err != nil {
		return err
	}
	defer below.close()
	w := &walker{ctx: ctx, source: s, visit: visit}
	return w.dir(dir, below, "", func() error { return nil })
}

type walker struct {
	ctx    context.Context
	source Source
	visit  func(*Change) error
}

// dir reports the changes in one directory. announce reports the directory
// itself, before the first change in it; it may be called more than once.
func (w *walker) dir(dir int, below stack, path string, announce func() error) error {
	names, err := files.List(dir)
	if err != nil {
		return at(path, err)
	}
	if w.source.Whole != "" {
		if err := w.missing(names, below, path, announce, false); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.entry(dir, name, below, path+"/"+name, announce); err != nil {
			return at(path+"/"+name, err)
		}
	}
	return nil
}

// entry looks at one name of the upper directory.
func (w *walker) entry(dir int, name string, below stack, path string, announce func() error) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return unlessGone(err)
	}
	old, found, err := below.stat(name)
	if err != nil {
		return err
	}
	switch {
	case isWhiteout(&st) && w.source.Whole == "":
		if !found {
			return nil // of a file that was the container's own
		}
		return w.report(announce, &Change{Kind: Deleted, Path: path})
	case !found && w.source.Hidden != nil && w.source.Hidden(path, &st, dir, name):
		return nil
	case kind(&st) == unix.S_IFDIR:
		return w.subdir(dir, name, &st, old, found, below, path, announce)
	case found && w.source.Whole != "" && same(&st, old):
		return nil
	}
	change := &Change{Kind: Added, Path: path, Dir: dir, Name: name, Stat: st}
	if found {
		change.Kind = Changed
	}
	return w.report(announce, change)
}

func (w *walker) report(announce func() error, c *Change) error {
	if err := announce(); err != nil {
		return err
	}
	return w.visit(c)
}

func (w *walker) subdir(dir int, name string, st, old *unix.Stat_t, found bool, below stack, path string, announce func() error) error {
	fd, err := openDir(dir, name)
	if err != nil {
		return unlessGone(err)
	}
	defer unix.Close(fd)
	change := &Change{Kind: Added, Path: path, Dir: fd, Stat: *st}
	inner := stack{}
	if found {
		change.Kind = Changed
		if kind(old) != unix.S_IFDIR {
			old = nil
		} else if w.source.Whole == "" && isOpaque(fd) {
			change.Kind, old = Replaced, nil
		} else if inner, err = below.enter(name); err != nil {
			return err
		}
	}
	defer inner.close()
	told := false
	tell := func() error {
		if told {
			return nil
		}
		told = true
		return w.report(announce, change)
	}
	if w.changed(fd, st, old, found, path) {
		if err := tell(); err != nil {
			return err
		}
	}
	if change.Kind == Replaced {
		if err := w.hiddenBelow(fd, name, below, path, tell); err != nil {
			return err
		}
	}
	return w.dir(fd, inner, path, tell)
}

// changed judges a directory by itself, without what is in it. old is nil if
// nothing of the image's shows through.
func (w *walker) changed(fd int, st, old *unix.Stat_t, found bool, path string) bool {
	switch {
	case !found:
		return !w.onlyHidden(fd, path)
	case old == nil:
		return true
	}
	return !sameDir(st, old) && !w.touched(fd, st, old, path)
}

// onlyHidden: a new directory in which there is nothing but places for mounts was
// made for them.
func (w *walker) onlyHidden(fd int, path string) bool {
	names, err := files.List(fd)
	return err == nil && len(names) > 0 && w.allHidden(fd, path, names)
}

// touched: only the time of the directory differs, and a place for a mount was
// made in it, which explains that.
func (w *walker) touched(fd int, st, old *unix.Stat_t, path string) bool {
	if st.Mode != old.Mode || st.Uid != old.Uid || st.Gid != old.Gid {
		return false
	}
	names, err := files.List(fd)
	if err != nil {
		return false
	}
	for _, name := range names {
		if w.allHidden(fd, path, []string{name}) {
			return true
		}
	}
	return false
}

func (w *walker) allHidden(fd int, path string, names []string) bool {
	for _, name := range names {
		var st unix.Stat_t
		if w.source.Hidden == nil || unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || !w.source.Hidden(path+"/"+name, &st, fd, name) {
			return false
		}
	}
	return true
}

// hiddenBelow reports what a replaced directory no longer has.
func (w *walker) hiddenBelow(fd int, name string, below stack, path string, announce func() error) error {
	names, err := files.List(fd)
	if err != nil {
		return err
	}
	old, err := below.enter(name)
	if err != nil {
		return err
	}
	defer old.close()
	return w.missing(names, old, path, announce, true)
}

// missing reports what the image has and the directory has not.
func (w *walker) missing(names []string, below stack, path string, announce func() error, implied bool) error {
	have := map[string]bool{}
	for _, name := range names {
		have[name] = true
	}
	olds, err := below.names()
	if err != nil {
		return err
	}
	for _, name := range olds {
		if have[name] {
			continue
		}
		if err := w.report(announce, &Change{Kind: Deleted, Path: path + "/" + name, Implied: implied}); err != nil {
			return err
		}
	}
	return nil
}

// same: the two files look alike from outside. Their contents are not read.
func same(a, b *unix.Stat_t) bool {
	return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid && a.Size == b.Size && a.Rdev == b.Rdev && a.Mtim == b.Mtim
}

func sameDir(a, b *unix.Stat_t) bool {
	return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid && a.Mtim == b.Mtim
}

func kind(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

func isWhiteout(st *unix.Stat_t) bool { return kind(st) == unix.S_IFCHR && st.Rdev == 0 }

func isOpaque(dir int) bool {
	for _, name := range []string{"user.overlay.opaque", "trusted.overlay.opaque"} {
		value := make([]byte, 2)
		if n, err := unix.Fgetxattr(dir, name, value); err == nil && n == 1 && value[0] == 'y' {
			return true
		}
	}
	return false
}

func unlessGone(err error) error {
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP || err == unix.ENXIO {
		return nil
	}
	return err
}

func at(path string, err error) error {
	var known *os.PathError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &os.PathError{Op: "read", Path: path, Err: err}
}

func openTop(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func openDir(dir int, name string) (int, error) {
	return unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}
