package supervisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"bryo/rootfs/etc"
	"bryo/rootfs/mount/inroot"
)

// adaptImage makes a fresh root usable with one id. An image without apt is left
// alone, and so is a file that is there already.
func (s *supervisor) adaptImage(root string) error {
	if !s.config.Mapping.Single || !s.status.Started.IsZero() {
		return nil
	}
	rootFD, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open container root: %w", err)
	}
	defer unix.Close(rootFD)
	dir, err := inroot.Open(rootFD, etc.AptDir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, etc.AptFile, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", etc.AptDir, etc.AptFile, err)
	}
	f := os.NewFile(uintptr(fd), etc.AptFile)
	defer f.Close()
	_, err = f.WriteString(etc.AptConfig)
	return err
}
