// Package tree works on whole trees of files by descriptor: it copies them
// (Copy), merges overlay layers into one tree (Merge), and gives them another
// owner or label (Chown, Label).
//
// The trees are filled by strangers and may change while they are read, so no
// symbolic link is ever followed, every file is opened before it is judged, and
// a FIFO or a device is never opened at all. What a link points at is copied as
// text.
//
// Start with Copy in copy.go. Left out: device nodes, which a user namespace
// cannot make (they are skipped), and extended attributes of anything but files
// and directories.
package tree

import (
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// inode names a file for as long as it exists.
type inode struct{ dev, ino uint64 }

func inodeOf(st *unix.Stat_t) inode { return inode{uint64(st.Dev), st.Ino} }

func kind(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

// list returns the names in the directory fd, in the order of the disk.
func list(fd int, at string) ([]string, error) {
	// A fresh description: reading moves the offset of the one it reads from.
	own, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", at, err)
	}
	dir := os.NewFile(uintptr(own), at)
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// openDir opens the directory rel below root, following nothing.
func openDir(root int, rel string) (int, error) {
	return inroot.Below(root, rel, unix.O_RDONLY|unix.O_DIRECTORY)
}

func join(rel, name string) string { return path.Join(rel, name) }
