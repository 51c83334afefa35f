package mount

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOld uses mount(2), whose options share one page: 500 paths do not fit, but
// 500 descriptor numbers do, read from /proc/self/fd as the working directory.
// Descriptors have no characters to escape either.
func (l *layers) mountOld(target string) error {
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		// The working directory belongs to all threads; this one gets its own and
		// ends with it (it is never unlocked), so that nobody else moves.
		runtime.LockOSThread()
		done <- l.mountFromFds(target)
	}()
	return <-done
}

func (l *layers) mountFromFds(target string) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	if err := unix.Chdir("/proc/self/fd"); err != nil {
		return err
	}
	var opened []int
	defer func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}()
	number := func(dir string) (string, error) {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", &fs.PathError{Op: "layer", Path: dir, Err: err}
		}
		opened = append(opened, fd)
		return strconv.Itoa(fd), nil
	}
	data, err := l.oldOptions(number)
	if err != nil {
		return err
	}
	err = unix.Mount("overlay", target, "overlay", 0, data)
	if err == unix.ENODEV || err == unix.EPERM {
		return fmt.Errorf("%w: %w", ErrNoOverlay, err)
	}
	return err
}

// oldOptions writes the option string, naming each directory as name says.
func (l *layers) oldOptions(name func(dir string) (string, error)) (string, error) {
	numbers := make([]string, len(l.lower))
	for i, dir := range l.lower {
		n, err := name(dir)
		if err != nil {
			return "", err
		}
		numbers[i] = n
	}
	options := []string{"lowerdir=" + strings.Join(numbers, ":")}
	if l.upper != "" {
		upper, err := name(l.upper)
		if err != nil {
			return "", err
		}
		work, err := name(l.work)
		if err != nil {
			return "", err
		}
		options = append(options, "upperdir="+upper, "workdir="+work)
	}
	data := strings.Join(append(options, l.flags()...), ",")
	if len(data) >= os.Getpagesize() {
		return "", fmt.Errorf("%d layers: options of %d bytes, the kernel takes one page", len(l.lower), len(data))
	}
	return data, nil
}
