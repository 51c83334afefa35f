package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Nameless makes a file in dir that has no name yet: nothing is left of it when
// its maker ends. On file systems without O_TMPFILE it has one that begins with
// ".bryo-".
func Nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == unix.EOPNOTSUPP || err == unix.EISDIR {
		return os.CreateTemp(dir, ".bryo-")
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// NameFile gives a file of Nameless its name. What has the name is replaced.
func NameFile(f *os.File, path string) error {
	if f.Name() != filepath.Dir(path) {
		return os.Rename(f.Name(), path) // it had a name
	}
	from := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != unix.EEXIST {
		return wrap(path, err)
	}
	// Linking replaces nothing: through a second name, which lasts for an instant.
	second := filepath.Join(filepath.Dir(path), fmt.Sprintf(".bryo-%d", os.Getpid()))
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, second, unix.AT_SYMLINK_FOLLOW); err != nil {
		return wrap(path, err)
	}
	return os.Rename(second, path)
}

func wrap(path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "name", Path: path, Err: err}
}
