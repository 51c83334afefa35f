package tree

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// fdMeta gives dst the owner, attributes and mode of src. In this order: a
// change of owner clears setuid, setgid and security.capability.
func (c *copier) fdMeta(dst, src int, st *unix.Stat_t) error {
	mode := st.Mode & 0o7777
	err := unix.Fchown(dst, int(st.Uid), int(st.Gid))
	if err == unix.EINVAL {
		mode &^= unix.S_ISUID | unix.S_ISGID // owner not mapped: never setuid for us
	} else if err != nil {
		return fmt.Errorf("chown to %d:%d: %w", st.Uid, st.Gid, err)
	}
	if err := c.xattrs(dst, src); err != nil {
		return err
	}
	return unix.Fchmod(dst, mode)
}

// nameMeta is fdMeta for what is not opened: links, FIFOs, sockets. The name is
// in a directory that nobody else writes to or was made this instant by us.
func nameMeta(dir int, name string, st *unix.Stat_t) error {
	err := unix.Fchownat(dir, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && err != unix.EINVAL {
		return fmt.Errorf("chown to %d:%d: %w", st.Uid, st.Gid, err)
	}
	if kind(st) != unix.S_IFLNK {
		if err := chmodName(dir, name, st.Mode&0o777); err != nil {
			return err
		}
	}
	return setTimes(dir, name, st)
}

// chmodName changes the mode of a FIFO or socket without opening it and without
// following a link that took its place: through an O_PATH descriptor.
func chmodName(dir int, name string, mode uint32) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if kind(&st) == unix.S_IFLNK {
		return errors.New("changed its type while it was copied")
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

func setTimes(dir int, name string, st *unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// xattrs copies the attributes that belong to a file's contents. Labels of the
// host's security modules and overlay's own marks stay behind.
func (c *copier) xattrs(dst, src int) error {
	names, err := listXattrs(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if c.layered && needsOverlay(name) {
			return fmt.Errorf("attribute %s: only overlay can read this layer", name)
		}
		if !carried(name) {
			continue
		}
		value, err := getXattr(src, name)
		if err != nil {
			return fmt.Errorf("read attribute %s: %w", name, err)
		}
		if err := unix.Fsetxattr(dst, name, value, 0); err != nil && err != unix.EOPNOTSUPP {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	return nil
}

func carried(name string) bool {
	switch {
	case strings.HasPrefix(name, "user.overlay."):
		return false
	case strings.HasPrefix(name, "user."):
		return true
	}
	return name == "security.capability" ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// needsOverlay names the marks whose meaning a copy would lose: contents or
// names that lie in another layer.
func needsOverlay(name string) bool {
	for _, prefix := range []string{"user.overlay.", "trusted.overlay."} {
		if mark, ok := strings.CutPrefix(name, prefix); ok {
			return mark == "redirect" || mark == "metacopy"
		}
	}
	return false
}

// listXattrs: the kernel bounds the list at 64 KiB (XATTR_LIST_MAX).
func listXattrs(fd int) ([]string, error) {
	size, err := unix.Flistxattr(fd, nil)
	if size == 0 || err == unix.EOPNOTSUPP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	buf := make([]byte, 64<<10)
	size, err = unix.Flistxattr(fd, buf)
	if err != nil {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	return strings.FieldsFunc(string(buf[:size]), func(r rune) bool { return r == 0 }), nil
}

func getXattr(fd int, name string) ([]byte, error) {
	buf := make([]byte, 64<<10) // XATTR_SIZE_MAX
	n, err := unix.Fgetxattr(fd, name, buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// whiteout tells whether an entry says "not here": overlay's 0:0 device, or the
// empty file with a mark that newer kernels read too (6.7, nested overlays).
func whiteout(dir int, name string, st *unix.Stat_t) bool {
	if kind(st) == unix.S_IFCHR {
		return st.Rdev == 0
	}
	if kind(st) != unix.S_IFREG || st.Size != 0 {
		return false
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return marked(dir, "opaque") == 'x' && marked(fd, "whiteout") != 0
}

// opaque tells whether the directory hides what lower layers have in it.
func opaque(dir int, name string) (bool, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	return marked(fd, "opaque") == 'y', nil
}

// marked returns the first byte of overlay's attribute in either namespace, 'x'
// for an empty one, 0 for none. trusted.* is only readable by the host's root.
func marked(fd int, mark string) byte {
	var value [8]byte
	for _, prefix := range []string{"user.overlay.", "trusted.overlay."} {
		n, err := unix.Fgetxattr(fd, prefix+mark, value[:])
		if err == nil && n == 0 {
			return 'x'
		}
		if err == nil {
			return value[0]
		}
	}
	return 0
}
