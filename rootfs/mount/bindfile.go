package mount

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// ErrNoPlace: what is to be mounted on is no regular file, and cannot be made by
// making one file.
var ErrNoPlace = errors.New("no regular file to mount on")

// BindFile mounts the file source over target, a regular file below root, an O_PATH
// descriptor of a tree that is mounted. A missing file is made, and its directory if
// that is one of the root's. Links are resolved inside root.
func BindFile(root int, source, target string) error {
	place, err := openFile(root, target)
	if err != nil {
		return err
	}
	defer unix.Close(place)
	file, err := Pin(source, false)
	if err != nil {
		return err
	}
	defer file.Close()
	if file.copied {
		err = unix.MoveMount(file.fd, "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	} else {
		err = unix.Mount(fdPath(file.fd), fdPath(place), "", unix.MS_BIND, "")
	}
	if err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, target, err)
	}
	return nil
}

func openFile(root int, target string) (int, error) {
	fd, err := inroot.Open(root, target, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) {
		fd, err = makeFile(root, target)
	}
	if err != nil {
		return -1, ErrNoPlace
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, ErrNoPlace
	}
	return fd, nil
}

func makeFile(root int, target string) (int, error) {
	parent, err := inroot.Open(root, path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) && path.Dir(path.Dir(target)) == "/" {
		// As for an image without /etc. Below a link to nowhere the runtime knows better.
		if err = mkdirOpen(root, path.Base(path.Dir(target))); err == nil {
			parent, err = inroot.Below(root, path.Base(path.Dir(target)), unix.O_PATH|unix.O_DIRECTORY)
		}
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	name := path.Base(target)
	if err := unix.Mknodat(parent, name, unix.S_IFREG|0o644, 0); err != nil {
		return -1, err // EEXIST too: a link to nowhere
	}
	if err := unix.Fchmodat(parent, name, 0o644, 0); err != nil { // whatever the umask is
		return -1, err
	}
	return unix.Openat(parent, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}
