package tree

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// Copy copies what is in the directory src (open for reading) into the empty
// directory dst, with owners, modes, times, extended attributes and hard links,
// and then gives dst the owner, mode and attributes of src. File data is shared
// by reflink where the filesystem can, copied with its holes elsewhere. Sockets
// and FIFOs are made anew; device nodes are skipped. An owner that the user
// namespace does not map becomes the caller's, without setuid and setgid.
func Copy(dst, src int) error {
	c := copier{dst: dst, srcs: []int{src}, links: map[linked]string{}}
	return c.dir(".", []int{0})
}

// Merge copies what an overlay of the directories layers (topmost first) would
// show, in the way of Copy: whiteouts hide, opaque directories end what lies
// below, and overlay's own attributes stay behind.
func Merge(dst int, layers []int) error {
	c := copier{dst: dst, srcs: layers, layered: true, links: map[linked]string{}}
	all := make([]int, len(layers))
	for i := range all {
		all[i] = i
	}
	return c.dir(".", all)
}

type copier struct {
	dst     int
	srcs    []int
	layered bool              // srcs are overlay layers, topmost first
	links   map[linked]string // copied file that has further names -> its path below dst
	noClone bool              // the filesystem refused FICLONE once
	buf     []byte
}

// linked names one source file; the layer is part of it because overlay never
// shares an inode between layers, even where the disk does.
type linked struct {
	layer int
	inode
}

// sub is a directory that waits for its turn, with the layers that contribute.
type sub struct {
	name   string
	layers []int
}

// dir fills the directory rel of the target from the same directory of layers.
// Descriptors are open for one directory at a time, not for the whole path down:
// 500 layers times 50 levels would end at the descriptor limit.
func (c *copier) dir(rel string, layers []int) error {
	subs, err := c.entries(rel, layers)
	if err != nil {
		return err
	}
	for _, s := range subs {
		if err := c.dir(join(rel, s.name), s.layers); err != nil {
			return err
		}
	}
	// Last, because adding entries changes the times.
	return c.dirMeta(rel, layers[0])
}

// entries copies everything of rel that is not a directory, makes the
// directories empty and returns them.
func (c *copier) entries(rel string, layers []int) ([]*sub, error) {
	out, err := openDir(c.dst, rel)
	if err != nil {
		return nil, fmt.Errorf("copy /%s: %w", rel, err)
	}
	defer unix.Close(out)

	seen := map[string]*sub{} // nil: decided, nothing below counts
	var subs []*sub
	for _, layer := range layers {
		in, err := openDir(c.srcs[layer], rel)
		if err != nil {
			return nil, fmt.Errorf("copy /%s: %w", rel, err)
		}
		found, err := c.layer(rel, layer, in, out, seen)
		unix.Close(in)
		if err != nil {
			return nil, err
		}
		subs = append(subs, found...)
	}
	return subs, nil
}

// layer adds one layer's share of directory rel. seen carries what the layers
// above have decided.
func (c *copier) layer(rel string, layer, in, out int, seen map[string]*sub) ([]*sub, error) {
	names, err := list(in, "/"+rel)
	if err != nil {
		return nil, err
	}
	var subs []*sub
	for _, name := range names {
		above, decided := seen[name]
		if decided && above == nil {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(in, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, fmt.Errorf("copy /%s: %w", join(rel, name), err)
		}
		isDir := kind(&st) == unix.S_IFDIR
		switch {
		case !isDir:
			// A file hides what lies below it; under a directory it is hidden.
			seen[name] = nil
			if decided || c.layered && whiteout(in, name, &st) {
				continue
			}
			err = c.file(rel, name, layer, in, out, &st)
		case decided:
			above.layers = append(above.layers, layer)
			err = c.closeIfOpaque(seen, name, in)
		default:
			s := &sub{name, []int{layer}}
			seen[name] = s
			subs = append(subs, s)
			// Closed to others until its metadata is set.
			if err = unix.Mkdirat(out, name, 0o700); err == nil {
				err = c.closeIfOpaque(seen, name, in)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("copy /%s: %w", join(rel, name), err)
		}
	}
	return subs, nil
}

func (c *copier) closeIfOpaque(seen map[string]*sub, name string, in int) error {
	if !c.layered {
		return nil
	}
	opaque, err := opaque(in, name)
	if opaque {
		seen[name] = nil
	}
	return err
}

// file copies one entry that is not a directory.
func (c *copier) file(rel, name string, layer, in, out int, st *unix.Stat_t) error {
	key := linked{layer, inodeOf(st)}
	if st.Nlink > 1 {
		if first, ok := c.links[key]; ok {
			return c.link(first, out, name)
		}
	}
	made, err := c.create(name, in, out, st)
	if err == nil && made && st.Nlink > 1 {
		c.links[key] = join(rel, name)
	}
	return err
}

// link gives the copied file at path first (below the target) one more name.
func (c *copier) link(first string, out int, name string) error {
	dir, err := inroot.Below(c.dst, path.Dir(first), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return unix.Linkat(dir, path.Base(first), out, name, 0)
}

// create makes a copy of in/name at out/name, metadata included. made is false
// for what is not copied: device nodes.
func (c *copier) create(name string, in, out int, st *unix.Stat_t) (made bool, err error) {
	switch kind(st) {
	case unix.S_IFREG:
		return true, c.regular(name, in, out)
	case unix.S_IFLNK:
		err = symlink(name, in, out, st.Size)
	case unix.S_IFIFO, unix.S_IFSOCK:
		err = unix.Mknodat(out, name, kind(st)|0o600, 0)
	default:
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, nameMeta(out, name, st)
}

func symlink(name string, in, out int, size int64) error {
	buf := make([]byte, max(size, 255)+1)
	n, err := unix.Readlinkat(in, name, buf)
	if err != nil {
		return err
	}
	if n == len(buf) {
		return unix.ENAMETOOLONG // it grew between stat and here: never cut it
	}
	return unix.Symlinkat(string(buf[:n]), out, name)
}

func (c *copier) regular(name string, in, out int) error {
	src, err := unix.Openat(in, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	if kind(&st) != unix.S_IFREG {
		return errors.New("changed its type while it was copied")
	}
	dst, err := unix.Openat(out, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = c.data(dst, src, &st)
	if err == nil {
		err = c.fdMeta(dst, src, &st)
	}
	if err == nil {
		err = setTimes(out, name, &st)
	}
	return errors.Join(err, unix.Close(dst))
}

// dirMeta gives the finished directory rel what its topmost layer says of it.
func (c *copier) dirMeta(rel string, layer int) error {
	src, err := openDir(c.srcs[layer], rel)
	if err != nil {
		return fmt.Errorf("copy /%s: %w", rel, err)
	}
	defer unix.Close(src)
	dst, err := openDir(c.dst, rel)
	if err != nil {
		return fmt.Errorf("copy /%s: %w", rel, err)
	}
	defer unix.Close(dst)
	if err := c.meta(dst, src); err != nil {
		return fmt.Errorf("copy /%s: %w", rel, err)
	}
	return nil
}

// Meta gives the open directory dst owner, mode, attributes and times of src.
func Meta(dst, src int) error { return new(copier).meta(dst, src) }

func (c *copier) meta(dst, src int) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	if err := c.fdMeta(dst, src, &st); err != nil {
		return err
	}
	return setTimes(dst, ".", &st)
}
