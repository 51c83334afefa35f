package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// OverlaySupported tries an overlay whose directories lie in dir, the data root,
// and returns nil when it works, files can be removed from it included. It makes
// the mount without attaching it, so it needs the user namespace of a container,
// and leaves nothing behind; what a killed one left, the next one removes. A start
// does not ask: it simply tries Overlay.
func OverlaySupported(dir string) error {
	sweepTrials(dir)
	tmp, claim, err := linux.MakeClaimed(dir, trialPrefix)
	if err != nil {
		return err
	}
	defer claim.Close()
	defer os.RemoveAll(tmp)
	sub := func(name string) string { return filepath.Join(tmp, name) }
	if err := errors.Join(os.Mkdir(sub("lower"), 0o700), os.Mkdir(sub("upper"), 0o700), os.Mkdir(sub("work"), 0o700)); err != nil {
		return err
	}
	if err := os.WriteFile(sub("lower/file"), nil, 0o600); err != nil {
		return err
	}
	l := layers{lower: []string{sub("lower")}, upper: sub("upper"), work: sub("work"), userXattr: inUserNamespace()}
	fd, err := l.detached(already)
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

// sweepTrials removes the directories whose maker is gone.
func sweepTrials(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), trialPrefix) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if claim, err := linux.Claim(path, unix.LOCK_NB); err == nil {
			os.RemoveAll(path)
			claim.Close()
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
