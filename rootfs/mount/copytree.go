package mount

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/tree"
)

// CopyTree makes at dst, an empty directory, the tree that an overlay of lowers
// (topmost first) would show: the next best thing where ErrNoOverlay says that
// there is none. Files are reflinks where the filesystem can (their data is
// shared until one side writes), else full copies; never hard links, through
// which a container would write into the image. Whiteouts and opaque directories
// of either namespace (user.overlay.*, trusted.overlay.*) are honoured, owners,
// modes, times, attributes and hard links kept. A layer that uses overlay's
// redirects is refused.
//
// What a container changed cannot be told from the image afterwards.
func CopyTree(dst string, lowers []string) error {
	if len(lowers) == 0 {
		return errors.New("copy layers: the image has no layers")
	}
	out, err := openDir(dst)
	if err != nil {
		return fmt.Errorf("copy layers: %w", err)
	}
	defer unix.Close(out)
	var in []int
	defer func() {
		for _, fd := range in {
			unix.Close(fd)
		}
	}()
	for _, layer := range lowers {
		fd, err := openDir(layer)
		if err != nil {
			return fmt.Errorf("copy layers: %w", err)
		}
		in = append(in, fd)
	}
	if err := tree.Merge(out, in); err != nil {
		return fmt.Errorf("copy layers to %s: %w", dst, err)
	}
	return nil
}

func openDir(name string) (int, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}
