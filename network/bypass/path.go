package bypass

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Unix sockets have paths for addresses. The thread that follows one stands in the
// caller's root, but it is ours: in a procfs that shows this process (--pid host)
// the links of /proc/self lead it to the root and the files of the supervisor,
// which is to say out of the container. The caller itself could not follow them.

// pathOf is the path in an address; "": it has none.
func pathOf(name []byte) string {
	if len(name) < 3 || binary.NativeEndian.Uint16(name) != unix.AF_UNIX {
		return ""
	}
	path, _, _ := bytes.Cut(name[2:], []byte{0}) // abstract: nothing before the zero
	return string(path)
}

// found gives the address of the socket that is at the path now: it is opened
// without such links, and named by the number of our descriptor of it, relative to
// where those are. The thread stands there afterwards.
func (j *job) found(name []byte) ([]byte, error) {
	path := pathOf(name)
	if path == "" {
		return name, nil
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, err
	}
	j.files = append(j.files, fd)
	if err := unix.Fchdir(j.handler.descriptors); err != nil {
		return nil, err
	}
	return append(binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX), strconv.Itoa(fd)+"\x00"...), nil
}

// bindBelowRoot is bind(2) with the path as it was given, for the kernel tells it to
// others. It makes a file, and Landlock keeps that below the caller's root. Without
// Landlock nothing does, where /proc shows us.
func (j *job) bindBelowRoot(name []byte) error {
	if pathOf(name) != "" {
		err := socketsOnlyBelow("/")
		if err == unix.ENOSYS || err == unix.EOPNOTSUPP {
			if _, shown := os.Readlink("/proc/self"); shown != nil {
				err = nil
			}
		}
		if err != nil {
			return unix.EACCES
		}
	}
	return withAddress(unix.SYS_BIND, j.socket.fd, name)
}

// socketsOnlyBelow forbids the calling thread to make sockets in other directories.
func socketsOnlyBelow(dir string) error {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(rules))
	below := unix.LandlockPathBeneathAttr{Allowed_access: attr.Handled_access_fs, Parent_fd: int32(root)}
	_, _, errno = unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&below)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
