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
	place, err := filePlace(root, target)
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

// filePlace opens the regular file target, or ErrNoPlace.
func filePlace(root int, target string) (int, error) {
	place, err := inroot.Open(root, target, unix.O_PATH)
	if err != nil {
		return -1, ErrNoPlace
	}
	var st unix.Stat_t
	if err := unix.Fstat(place, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(place)
		return -1, ErrNoPlace
	}
	return place, nil
}
