package tree

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// regular copies a file: as a further name, as a reflink, or byte by byte.
func (c *copier) regular(source, target int, name string, st *unix.Stat_t) error {
	uid, gid, err := c.owner(st)
	if err != nil {
		return err
	}
	if c.Link && !c.noLink {
		err := unix.Linkat(source, name, target, name, 0)
		if err == nil {
			return nil
		}
		if !refusesLink(err) {
			return err
		}
		c.noLink = err != unix.EMLINK
	}
	from, err := unix.Openat(source, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, err := unix.Openat(target, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if err := c.contents(from, to); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(uid), int(gid)); err != nil {
		return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
	}
	// After the owner: a change of owner clears setuid bits and capabilities.
	if err := c.xattrs(from, to); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	return setTimes(to, st)
}

// refusesLink: other file system, none that knows links, too many names, or
// sysctl fs.protected_hardlinks.
func refusesLink(err error) bool {
	return err == unix.EXDEV || err == unix.EOPNOTSUPP || err == unix.EMLINK || err == unix.EPERM
}

func (c *copier) contents(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("changed while it was copied")
	}
	if !c.noClone && st.Size > 0 {
		err := unix.IoctlFileClone(to, from)
		if err == nil {
			return nil
		}
		c.noClone = true
	}
	return c.bytes(from, to)
}

// bytes copies inside the kernel where it can.
func (c *copier) bytes(from, to int) error {
	for {
		n, err := unix.CopyFileRange(from, nil, to, nil, 1<<30, 0)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EXDEV || err == unix.ENOSYS || err == unix.EINVAL || err == unix.EOPNOTSUPP || err == unix.EPERM {
			return c.slowly(from, to)
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

func (c *copier) slowly(from, to int) error {
	_, err := io.CopyBuffer(fdWriter(to), fdReader(from), c.buffer)
	return err
}

type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		if err == unix.EINTR {
			continue
		}
		if n == 0 && err == nil {
			return 0, io.EOF
		}
		return max(n, 0), err
	}
}

type fdWriter int

func (fd fdWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(int(fd), p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// xattrs copies the attributes that layers have. Those of other name spaces are
// the host's (selinux) or need rights over it.
func (c *copier) xattrs(from, to int) error {
	size, err := unix.Flistxattr(from, nil)
	if err != nil || size <= 0 {
		return ignore(err, unix.ENOTSUP)
	}
	names := make([]byte, size+4096)
	if size, err = unix.Flistxattr(from, names); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimRight(string(names[:size]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") && name != "security.capability" && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		if c.Merge && strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 65536)
		n, err := unix.Fgetxattr(from, name, value)
		if err != nil {
			return fmt.Errorf("extended attribute %.80q: %w", name, err)
		}
		if err := unix.Fsetxattr(to, name, value[:n], 0); err != nil && ignore(err, unix.ENOTSUP, unix.EPERM) != nil {
			return fmt.Errorf("extended attribute %.80q: %w", name, err)
		}
	}
	return nil
}

func ignore(err error, harmless ...error) error {
	for _, one := range harmless {
		if err == one {
			return nil
		}
	}
	return err
}

// setTimes is futimens(3).
func setTimes(fd int, st *unix.Stat_t) error {
	times := [2]unix.Timespec{st.Atim, st.Mtim}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times[0])), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("times: %w", errno)
	}
	return nil
}

// deletions removes from the target what the directory's .wh. files name.
func (c *copier) deletions(source, target int, names []string) error {
	for _, name := range names {
		deleted, found := strings.CutPrefix(name, whiteoutPrefix)
		if !found {
			continue
		}
		if name == whiteoutOpaque {
			if err := empty(target); err != nil {
				return err
			}
			continue
		}
		if deleted == "" || deleted == "." || deleted == ".." {
			continue
		}
		if err := Remove(target, deleted); err != nil && err != unix.ENOENT {
			return err
		}
	}
	return nil
}

// makeRoom removes what is in the way of name, or is deleted by it: everything
// but a directory that another directory comes over.
func makeRoom(target int, name string, isDir bool) error {
	var st unix.Stat_t
	err := unix.Fstatat(target, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	if isDir && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	return Remove(target, name)
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isOpaque(dir int) bool {
	value := make([]byte, 2)
	n, err := unix.Fgetxattr(dir, opaqueXattr, value)
	return err == nil && n == 1 && value[0] == 'y'
}

func empty(dir int) error {
	names, err := list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := Remove(dir, name); err != nil {
			return err
		}
	}
	return nil
}

// Remove deletes name and all below it, in directory dir, following no symlink.
func Remove(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	sub, err := openDir(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(sub)
	if err := empty(sub); err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}
