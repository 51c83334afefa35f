package tree

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// Chown gives the open file or directory fd and all below it to uid and gid. It
// follows no link and stays on the mount of fd. Files that have that owner
// already are not touched, so a second run costs a walk only.
func Chown(fd int, uid, gid uint32) error {
	return walk(fd, ".", func(dir int, name string, st *unix.Stat_t) error {
		if st.Uid == uid && st.Gid == gid {
			return nil
		}
		return unix.Fchownat(dir, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	})
}

// Label sets the SELinux label of fd and all below it.
func Label(fd int, label string) error {
	return walk(fd, ".", func(dir int, name string, st *unix.Stat_t) error {
		if kind(st) == unix.S_IFLNK {
			return nil // what it points at is labelled where it lies
		}
		at := dir
		if name != "" {
			var err error
			at, err = unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(at)
		}
		// An O_PATH descriptor has no fsetxattr; its path in /proc has.
		err := unix.Setxattr(fmt.Sprintf("/proc/self/fd/%d", at), "security.selinux", []byte(label), 0)
		if err == unix.EOPNOTSUPP {
			return nil // a filesystem labelled as a whole
		}
		return err
	})
}

// Size adds up the sizes in bytes of the files below the directory fd on its
// mount, those with several names once. What cannot be read does not count.
func Size(fd int) (size uint64) {
	seen := map[inode]bool{}
	walk(fd, ".", func(_ int, _ string, st *unix.Stat_t) error {
		if kind(st) == unix.S_IFDIR || st.Nlink > 1 && seen[inodeOf(st)] {
			return nil
		}
		if st.Nlink > 1 {
			seen[inodeOf(st)] = true
		}
		size += uint64(st.Size)
		return nil
	})
	return size
}

// visit acts on the entry name of dir; name is "" when dir is the entry itself.
type visit func(dir int, name string, st *unix.Stat_t) error

// walk visits fd and everything below it on the same mount, parents first.
func walk(fd int, at string, do visit) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if err := do(fd, "", &st); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if kind(&st) != unix.S_IFDIR {
		return nil
	}
	names, err := list(fd, at)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := walkEntry(fd, name, join(at, name), do); err != nil {
			return err
		}
	}
	return nil
}

// walkEntry opens a directory before it judges it: the name may be a link by
// then. What is gone meanwhile is no error, and another mount in the tree
// (EXDEV) is somebody else's.
func walkEntry(dir int, name, at string, do visit) error {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && kind(&st) != unix.S_IFDIR {
		err = do(dir, name, &st)
	}
	if err == nil && kind(&st) == unix.S_IFDIR {
		var fd int
		if fd, err = inroot.BelowMount(dir, name, unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
			defer unix.Close(fd)
			return walk(fd, at, do)
		}
	}
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EXDEV) {
		return nil
	}
	return fmt.Errorf("%s: %w", at, err)
}
