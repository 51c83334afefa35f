package image

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// Lock takes the lock under which names and records change, waiting for it, and
// returns what gives it back. It dies with the process. Lookup does not take it.
//
// The file is root/images.lock's neighbour, not images.lock itself: that one is
// held for as long as a container is being made, this one for milliseconds. Nobody is
// stopped by a terminal while he has it.
func Lock(root string) (unlock func(), err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(root, "records.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	release := linux.HoldStops()
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		file.Close()
		release()
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return func() { file.Close(); release() }, nil
}
