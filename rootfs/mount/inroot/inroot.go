// Package inroot opens files below a directory that somebody else filled: an
// image's root, a volume, a layer. Names in it are hostile: a symbolic link may
// point at the host, and another process may swap an entry between two looks.
// So no function here resolves a name twice; each returns a descriptor.
//
// Start with Open (links count, but end inside the root, as after chroot) and
// Below (no link is followed at all). Creating things is left to callers: they
// create relative to a descriptor that came from here.
package inroot

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// racedTries bounds how often a lookup is redone when the kernel reports that a
// rename happened meanwhile (EAGAIN, see openat2(2)). A tree that is renamed
// without end must not hold a container start for ever.
const racedTries = 64

// Open opens name with root as its "/": symbolic links and ".." are resolved
// inside root, magic links (/proc/PID/fd) are refused. flags are open(2)'s;
// O_CLOEXEC is added. Source: openat2(2) RESOLVE_IN_ROOT, kernel 5.6.
func Open(root int, name string, flags int) (int, error) {
	name = strings.TrimLeft(name, "/")
	if name == "" {
		name = "."
	}
	fd, err := openat2(root, name, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if missingOpenat2(err) {
		fd, err = openSlowly(root, name, flags)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: "/" + name, Err: err}
	}
	return fd, nil
}

// Below opens name, a relative path, without following any symbolic link and
// without leaving dir through "..". "." opens dir itself.
func Below(dir int, name string, flags int) (int, error) {
	return below(dir, name, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
}

// BelowMount is Below, and refuses to cross into another mount (EXDEV).
func BelowMount(dir int, name string, flags int) (int, error) {
	return below(dir, name, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
}

// Inside opens name, a relative path whose links may be followed as long as none
// leaves dir: an absolute link or a ".." above dir is refused (EXDEV).
func Inside(dir int, name string, flags int) (int, error) {
	return below(dir, name, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
}

func below(dir int, name string, flags int, resolve uint64) (int, error) {
	fd, err := openat2(dir, name, flags, resolve)
	if missingOpenat2(err) {
		fd, err = walk(dir, name, flags)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

func openat2(dir int, name string, flags int, resolve uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for range racedTries {
		fd, err = unix.Openat2(dir, name, &how)
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return fd, err
}

// missingOpenat2 tells whether the call itself is not to be had: an old kernel,
// or an outer container's filter that answers EPERM for calls it does not know.
// A path never yields EPERM without O_NOATIME or O_CREAT, which nobody asks for.
func missingOpenat2(err error) bool {
	return err == unix.ENOSYS || err == unix.EPERM
}

// openSlowly resolves component by component, which pathrs-lite does with the
// same guarantees, then opens the very inode it found.
func openSlowly(root int, name string, flags int) (int, error) {
	dir, err := unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	rootFile := os.NewFile(uintptr(dir), "root")
	defer rootFile.Close()
	handle, err := pathrs.OpenatInRoot(rootFile, name)
	if err != nil {
		return -1, cause(err)
	}
	defer handle.Close()
	if flags&unix.O_PATH != 0 {
		return unix.FcntlInt(handle.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	file, err := pathrs.Reopen(handle, flags)
	if err != nil {
		return -1, cause(err)
	}
	defer file.Close()
	return unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// walk opens one component after the other and refuses every link and "..".
// Stricter than Inside asks for; only hosts without openat2 notice.
func walk(dir int, name string, flags int) (int, error) {
	fd, err := unix.Openat(dir, ".", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if part == ".." {
			unix.Close(fd)
			return -1, unix.EXDEV
		}
		how := unix.O_PATH | unix.O_DIRECTORY
		if i == len(parts)-1 {
			how = flags
		}
		next, err := unix.Openat(fd, part, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	// O_PATH with O_NOFOLLOW opens a link itself; openat2 would have refused.
	if st := new(unix.Stat_t); unix.Fstat(fd, st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		unix.Close(fd)
		return -1, unix.ELOOP
	}
	return fd, nil
}

func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
