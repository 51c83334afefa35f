package files

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (x *extractor) directory(parent int, base string, h *tar.Header) error {
	if err := unix.Mkdirat(parent, base, 0o700); err != nil && err != unix.EEXIST {
		return err
	}
	fd, err := openDir(parent, base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.own(fd, h)
}

// dress sets owner, attributes and mode of an open file, in this order: a change
// of owner clears set-id bits and capabilities.
func (x *extractor) dress(fd int, h *tar.Header) error {
	if err := x.own(fd, h); err != nil {
		return err
	}
	return unix.Fchmod(fd, x.mode(h))
}

func (x *extractor) own(fd int, h *tar.Header) error {
	if x.Owner != nil {
		uid, gid, err := x.Owner(h)
		if err != nil {
			return err
		}
		if err := chown(fd, uid, gid); err != nil {
			return err
		}
	}
	return setAttributes(fd, h)
}

func (x *extractor) mode(h *tar.Header) uint32 {
	mode := uint32(h.Mode) & 0o7777
	if x.Owner == nil {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return mode
}

func chown(fd, uid, gid int) error {
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
	}
	return nil
}

// file writes a nameless file and names it when it is complete.
func (x *extractor) file(parent int, base string, h *tar.Header) error {
	fd, err := unix.Openat(parent, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return x.fileInPlace(parent, base, h)
	}
	defer unix.Close(fd)
	if err := x.fill(fd, h); err != nil {
		return err
	}
	return x.give(fd, parent, base, h)
}

// give names the file. Linking never replaces: the old file goes first, except a
// mount point, which is written to instead.
func (x *extractor) give(fd, parent int, base string, h *tar.Header) error {
	for range 100 {
		err := unix.Linkat(unix.AT_FDCWD, fdPath(fd), parent, base, unix.AT_SYMLINK_FOLLOW)
		if err != unix.EEXIST {
			return err
		}
		err = unix.Unlinkat(parent, base, 0)
		if err == unix.EBUSY {
			return x.rewrite(fd, parent, base, h)
		}
		if err != nil && err != unix.ENOENT {
			return err
		}
	}
	return unix.EEXIST
}

// rewrite copies the new contents into the file that is mounted there.
func (x *extractor) rewrite(from, parent int, base string, h *tar.Header) error {
	to, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(to), base)
	defer out.Close()
	in, err := os.Open(fdPath(from))
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}

// fileInPlace serves file systems that have no nameless files.
func (x *extractor) fileInPlace(parent int, base string, h *tar.Header) error {
	if err := unix.Unlinkat(parent, base, 0); err != nil && err != unix.ENOENT && err != unix.EBUSY {
		return err
	}
	fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.fill(fd, h)
}

func (x *extractor) fill(fd int, h *tar.Header) error {
	for {
		n, err := x.tar.Read(x.buffer)
		for chunk := x.buffer[:n]; len(chunk) > 0; {
			written, err := unix.Write(fd, chunk)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			chunk = chunk[written:]
		}
		if x.Copied != nil {
			x.Copied(int64(n))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
	}
	if err := x.dress(fd, h); err != nil {
		return err
	}
	return setTimes(fd, h.ModTime)
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// setTimes is futimens(3): utimensat without a name.
func setTimes(fd int, modified time.Time) error {
	when := timespec(modified)
	times := [2]unix.Timespec{when, when}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
