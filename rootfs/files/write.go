// Package files moves files between a tree and a tar stream, in both
// directions, and knows docker's rules for where a copy goes.
//
// Start reading at Tree (place.go), which finds a source and a target below
// somebody's root; Writer (write.go) puts files into a stream, Extract
// (extract.go) takes them out of one. One side of every copy is a container's
// tree, which may change while it is read: each file is opened before it is
// judged, no symbolic link is followed but by a Tree, and a link there ends
// inside the root. Nothing of the tree is ever executed.
//
// Left out: device nodes and sockets, which are skipped; what mounts make the
// tree (package mount); compression.
package files

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Writer puts files into a tar stream. The zero value of its options works.
type Writer struct {
	Tar *tar.Writer
	// Owner translates the ids on disk; nil keeps them.
	Owner func(uid, gid uint32) (uint32, uint32)
	// Seconds cuts times to whole seconds, as layers of images have them.
	Seconds bool

	links  map[inode]string
	buffer []byte
}

type inode struct{ dev, ino uint64 }

// Pack writes a whole archive of the file top, an O_PATH descriptor, under the
// name. One that fails has no end, so that nobody takes it for a whole one.
func Pack(ctx context.Context, out io.Writer, top int, name string, owner func(uid, gid uint32) (uint32, uint32)) error {
	buffered := bufio.NewWriterSize(out, 256<<10)
	w := Writer{Tar: tar.NewWriter(buffered), Owner: owner}
	if err := w.Tree(ctx, top, name); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func kind(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

// Close ends the stream.
func (w *Writer) Close() error { return w.Tar.Close() }

// Tree writes the file top, an O_PATH descriptor, under the name, and all that
// is below it. The kernel's own file systems (/proc, /sys) below are left empty.
func (w *Writer) Tree(ctx context.Context, top int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(top, &st); err != nil {
		return err
	}
	if kernelFiles(top) {
		return errors.New("files of the kernel cannot be copied")
	}
	switch kind(&st) {
	case unix.S_IFDIR:
		dir, err := unix.Openat(top, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return w.dir(ctx, dir, name, &st)
	case unix.S_IFREG:
		fd, err := unix.Open(fdPath(top), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return w.regular(fd, name)
	case unix.S_IFLNK:
		target, err := readlink(top, "")
		if err != nil {
			return err
		}
		return w.header(&st, name, tar.TypeSymlink, target, nil)
	}
	return w.Entry(-1, "", name, &st)
}

// dir writes the open directory and what is in it, sorted by name.
func (w *Writer) dir(ctx context.Context, dir int, name string, st *unix.Stat_t) error {
	if err := w.Dir(dir, name, st); err != nil {
		return err
	}
	if kernelFiles(dir) {
		return nil
	}
	names, err := List(dir)
	if err != nil {
		return err
	}
	for _, base := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.below(ctx, dir, base, join(name, base)); err != nil {
			return err
		}
	}
	return nil
}

// below writes one name of a directory. What vanished meanwhile was not there.
func (w *Writer) below(ctx context.Context, dir int, base, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && kind(&st) == unix.S_IFDIR {
		var fd int
		if fd, err = openDir(dir, base); err == nil {
			defer unix.Close(fd)
			if err = unix.Fstat(fd, &st); err == nil {
				return w.dir(ctx, fd, name, &st)
			}
		}
	} else if err == nil {
		err = w.Entry(dir, base, name, &st)
	}
	if gone(err) {
		return nil
	}
	return at(name, err)
}

// gone: removed, or replaced by something else, since it was seen.
func gone(err error) bool {
	return err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP || err == unix.ENXIO
}

func at(name string, err error) error {
	var path *os.PathError
	if err == nil || errors.As(err, &path) {
		return err
	}
	return &os.PathError{Op: "copy", Path: name, Err: err}
}

// Dir writes the entry of an open directory.
func (w *Writer) Dir(fd int, name string, st *unix.Stat_t) error {
	records, err := attributes(fd)
	if err != nil {
		return at(name, err)
	}
	if name != "." {
		name += "/"
	} else {
		name = "./"
	}
	return w.header(st, name, tar.TypeDir, "", records)
}

// Entry writes what is no directory: base in the directory dir. The errors of
// what vanished meanwhile are the kernel's own, bare.
func (w *Writer) Entry(dir int, base, name string, st *unix.Stat_t) error {
	switch kind(st) {
	case unix.S_IFREG:
		fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return w.regular(fd, name)
	case unix.S_IFLNK:
		target, err := readlink(dir, base)
		if err != nil {
			return err
		}
		return w.header(st, name, tar.TypeSymlink, target, nil)
	case unix.S_IFIFO:
		return w.header(st, name, tar.TypeFifo, "", nil)
	}
	return nil // sockets and devices mean nothing elsewhere
}

// regular writes and closes an open file: what it is counts now, not what its
// name was before the open.
func (w *Writer) regular(fd int, name string) error {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if kind(&st) != unix.S_IFREG {
		return nil
	}
	if first, found := w.links[inode{st.Dev, st.Ino}]; found && st.Nlink > 1 {
		return w.header(&st, name, tar.TypeLink, first, nil)
	}
	records, err := attributes(fd)
	if err != nil {
		return at(name, err)
	}
	if err := w.header(&st, name, tar.TypeReg, "", records); err != nil {
		return err
	}
	if st.Nlink > 1 {
		if w.links == nil {
			w.links = map[inode]string{}
		}
		w.links[inode{st.Dev, st.Ino}] = name
	}
	return w.contents(f, st.Size)
}

// contents copies exactly size bytes: a file that shrinks meanwhile ends in
// zeros, one that grows is cut.
func (w *Writer) contents(f *os.File, size int64) error {
	if w.buffer == nil {
		w.buffer = make([]byte, 256<<10)
	}
	for left := size; left > 0; {
		n, err := f.Read(w.buffer[:min(left, int64(len(w.buffer)))])
		if n == 0 && err == io.EOF {
			n = int(min(left, int64(len(w.buffer))))
			clear(w.buffer[:n])
		} else if err != nil && err != io.EOF {
			return err
		}
		if _, err := w.Tar.Write(w.buffer[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// header writes an entry's head.
func (w *Writer) header(st *unix.Stat_t, name string, flag byte, link string, records map[string]string) error {
	uid, gid := st.Uid, st.Gid
	if w.Owner != nil {
		uid, gid = w.Owner(uid, gid)
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Typeflag: flag, Name: name, Linkname: link, Mode: int64(st.Mode & 0o7777),
		Uid: int(uid), Gid: int(gid), ModTime: time.Unix(st.Mtim.Unix()), PAXRecords: records,
	}
	if flag == tar.TypeReg {
		h.Size = st.Size
	}
	if w.Seconds {
		h.ModTime = h.ModTime.Truncate(time.Second)
	}
	if err := w.Tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write archive: %.200s: %w", name, err)
	}
	return nil
}

// Mark writes an empty file of root's, as layers record deletions.
func (w *Writer) Mark(name string, when time.Time) error {
	return w.Tar.WriteHeader(&tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: name, Mode: 0o600, ModTime: when.Truncate(time.Second)})
}

// List returns the names in an open directory, sorted, each once: while files are
// renamed the kernel may give one twice.
func List(dir int) ([]string, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return slices.Compact(names), err
}

func openDir(dir int, name string) (int, error) {
	return unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func readlink(dir int, name string) (string, error) {
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, text)
	return string(text[:max(n, 0)]), err
}

func join(dir, name string) string {
	if dir == "." {
		return "./" + name
	}
	return dir + "/" + name
}

// kernelFiles: a file system whose files are made up by the kernel as they are read.
func kernelFiles(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.BINFMTFS_MAGIC, mqueueMagic:
		return true
	}
	return false
}

const mqueueMagic = 0x19800202 // ipc/mqueue.c
