package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OverlaySupported tries an overlay whose directories lie in dir, the data root,
// and returns nil when it works, files can be removed from it included. It makes
// the mount without attaching it, so it needs the user namespace of a container
// and leaves nothing behind. For doctor: a start simply tries Overlay.
func OverlaySupported(dir string) error {
	tmp, err := os.MkdirTemp(dir, ".overlay-")
	if err != nil {
		return err
	}
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
