package files

import (
	"archive/tar"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const xattrPrefix = "SCHILY.xattr."

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// attributes reads the extended attributes that travel, as PAX records; nil when
// there are none, or the file system has no such thing.
func attributes(fd int) (map[string]string, error) {
	size, err := unix.Flistxattr(fd, nil)
	if err != nil || size == 0 {
		return nil, unsupported(err)
	}
	list := make([]byte, size+256) // more may have come
	if size, err = unix.Flistxattr(fd, list); err != nil {
		return nil, unsupported(err)
	}
	var records map[string]string
	for _, name := range strings.Split(strings.TrimRight(string(list[:size]), "\x00"), "\x00") {
		if !travels(name) {
			continue
		}
		value, err := attribute(fd, name)
		if err != nil {
			continue // gone meanwhile, or not ours to read
		}
		if records == nil {
			records = map[string]string{}
		}
		records[xattrPrefix+name] = value
	}
	return records, nil
}

func attribute(fd int, name string) (string, error) {
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	n, err := unix.Fgetxattr(fd, name, value)
	return string(value[:max(n, 0)]), err
}

func unsupported(err error) error {
	if err == unix.ENOTSUP || err == unix.ERANGE || err == unix.EPERM || err == unix.EACCES {
		return nil
	}
	return err
}

// travels: a program's own attributes, file capabilities and ACLs; not the books
// that overlayfs and the tools around it keep in the same directories.
func travels(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	if !strings.HasPrefix(name, "user.") {
		return false
	}
	for _, own := range []string{"user.overlay.", "user.containers.", "user.fuseoverlayfs."} {
		if strings.HasPrefix(name, own) {
			return false
		}
	}
	return true
}

// setAttributes sets what an entry's records say. One that this file system or
// this user cannot have is lost, the file is kept.
func setAttributes(fd int, h *tar.Header) error {
	for key, value := range h.PAXRecords {
		name, found := strings.CutPrefix(key, xattrPrefix)
		if !found || !travels(name) {
			continue
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err != nil && err != unix.ENOTSUP && err != unix.EPERM && err != unix.EINVAL {
			return err
		}
	}
	return nil
}
