package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OverlaySupported tries an overlay whose directories lie in dir, the data root,
// and returns nil when it works, files can be removed from it included. It makes
// the mount without attaching it, so it needs the user namespace of a container,
// and leaves nothing behind; what a killed one left, the next one removes. A start
// does not ask: it simply tries Overlay.
func OverlaySupported(dir string) error {
	sweepTrials(dir)
	tmp, unlock, err := trialDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	defer os.RemoveAll(tmp)
	sub := func(name string) string { return filepath.Join(tmp, name) }
	if err := errors.Join(os.Mkdir(sub("lower"), 0o700), os.Mkdir(sub("upper"), 0o700), os.Mkdir(sub("work"), 0o700)); err != nil {
		return err
	}
	if err := os.WriteFile(sub("lower/file"), nil, 0o600); err != nil {
		return err
	}
	l := layers{lower: []string{sub("lower")}, upper: sub("upper"), work: sub("work"), userXattr: inUserNamespace()}
	fd, err := l.detached()
	if (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) && l.tryOld(sub("merged")) == nil {
		return nil
	}
	if errors.Is(err, ErrNoOverlay) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoOverlay, err)
	}
	defer unix.Close(fd)
	// Removing a lower file makes a whiteout, which old kernels refuse to us.
	if err := unix.Unlinkat(fd, "file", 0); err != nil {
		return fmt.Errorf("%w: whiteout: %w", ErrNoOverlay, err)
	}
	return nil
}

const trialPrefix = ".overlay-"

// trialDir makes a directory that is locked for as long as its maker lives.
func trialDir(dir string) (tmp string, unlock func(), err error) {
	for {
		if tmp, err = os.MkdirTemp(dir, trialPrefix); err != nil {
			return "", nil, err
		}
		if unlock, err = lockTrial(tmp, 0); err == nil {
			return tmp, unlock, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return tmp, func() {}, nil // no such locks here, so nobody sweeps either
		}
		// A sweep came between the two.
	}
}

// lockTrial locks a directory that is still there afterwards.
func lockTrial(path string, how int) (unlock func(), err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX|how); err != unix.EINTR {
			break
		}
	}
	if err == nil {
		err = unix.Access(path, unix.F_OK)
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return func() { unix.Close(fd) }, nil
}

// sweepTrials removes the directories whose maker is gone.
func sweepTrials(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), trialPrefix) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if unlock, err := lockTrial(path, unix.LOCK_NB); err == nil {
			os.RemoveAll(path)
			unlock()
		}
	}
}

// tryOld attaches for a moment, as mount(2) cannot do less.
func (l *layers) tryOld(target string) error {
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	if err := l.mountOld(target); err != nil {
		return err
	}
	defer unix.Unmount(target, unix.MNT_DETACH)
	return os.Remove(filepath.Join(target, "file"))
}
