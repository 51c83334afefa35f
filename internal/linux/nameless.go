package linux

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// WriteWhole calls write with a file that gets the name path when write has
// succeeded. Until then it has none: nothing is left of it wherever it ends, and a
// cut file is not taken for a good one.
func WriteWhole(path string, write func(*os.File) error) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return &os.PathError{Op: "write", Path: path, Err: unix.EISDIR}
	}
	if err == nil && !info.Mode().IsRegular() {
		return writeInto(path, write) // a device or a pipe
	}
	f, err := Nameless(filepath.Dir(path))
	if err != nil {
		var cause unix.Errno
		errors.As(err, &cause)
		return &os.PathError{Op: "write", Path: path, Err: cause}
	}
	defer f.Close()
	err = write(f)
	if err == nil {
		err = NameFile(f, path)
	}
	if err != nil && f.Name() != filepath.Dir(path) {
		os.Remove(f.Name())
	}
	return err
}

func writeInto(path string, write func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

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
	return replace(from, path)
}

// replace names a file what another one is called, which linking does not: through a
// second name, which lasts for an instant. One that was left by a process that was
// killed in that instant is another's for ever: the names are random.
func replace(from, path string) error {
	for range 100 {
		second := filepath.Join(filepath.Dir(path), ".bryo-"+rand.Text())
		err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, second, unix.AT_SYMLINK_FOLLOW)
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return wrap(path, err)
		}
		if err := os.Rename(second, path); err != nil {
			os.Remove(second)
			return err
		}
		return nil
	}
	return wrap(path, unix.EEXIST)
}

func wrap(path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "name", Path: path, Err: err}
}
