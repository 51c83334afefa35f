package files

import (
	"archive/tar"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootfs/xattr"
)

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
		if !xattr.Travels(name) || strings.Contains(name, "=") {
			continue // a PAX record cannot name it
		}
		value, err := attribute(fd, name)
		if err != nil {
			continue // gone meanwhile, or not ours to read
		}
		if records == nil {
			records = map[string]string{}
		}
		records[xattr.Prefix+name] = value
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

// setAttributes sets what an entry's records say. One that this file system or
// this user cannot have is lost, the file is kept.
func setAttributes(fd int, h *tar.Header) error {
	for name, value := range xattr.In(h.PAXRecords) {
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err != nil && err != unix.ENOTSUP && err != unix.EPERM && err != unix.EINVAL {
			return err
		}
	}
	return nil
}
