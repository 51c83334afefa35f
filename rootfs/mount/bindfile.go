package mount

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// ErrNoPlace: there is no regular file to mount on.
var ErrNoPlace = errors.New("no regular file to mount on")

// BindFile mounts the file source over target, a regular file below root, an O_PATH
// descriptor of a tree that is mounted. Links are resolved inside root.
func BindFile(root int, source, target string) error {
	place, err := inroot.Open(root, target, unix.O_PATH)
	if err != nil {
		return ErrNoPlace
	}
	defer unix.Close(place)
	var st unix.Stat_t
	if err := unix.Fstat(place, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ErrNoPlace
	}
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
