package unpack

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootfs/store/tree"
)

// root is the layer's directory. All paths given to it are clean, relative, and
// free of ".."; what the symlinks among their parents say is resolved by the
// kernel as if root were "/".
type root struct {
	fd int
	// The directory of the last entry: archives come in tree order, so most
	// entries are found here. Dropped whenever something is removed, as the
	// name may then mean another directory.
	lastPath string
	lastFD   int
	// made is asked before a directory is made that the archive has no entry for.
	made func() error
}

func openRoot(dir string) (*root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &root{fd: fd, lastFD: -1}, nil
}

func (r *root) close() {
	r.forget()
	unix.Close(r.fd)
}

func (r *root) forget() {
	if r.lastFD >= 0 {
		unix.Close(r.lastFD)
		r.lastFD = -1
	}
}

// open resolves name inside the root. Flags and extra resolve restrictions as in openat2(2).
func (r *root) open(name string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV | resolve,
	}
	for range 100 {
		fd, err := unix.Openat2(r.fd, name, &how)
		// EAGAIN: a rename somewhere on the machine made the kernel unsure.
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// dir returns a descriptor of the directory name, making it and its parents
// where they are missing. The root keeps the descriptor: do not close it.
func (r *root) dir(name string) (int, error) {
	if name == "." {
		return r.fd, nil
	}
	if r.lastFD >= 0 && r.lastPath == name {
		return r.lastFD, nil
	}
	fd, err := r.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == unix.ENOENT {
		fd, err = r.makeDirs(name)
	}
	if err != nil {
		return -1, describeParent(name, err)
	}
	r.forget()
	r.lastPath, r.lastFD = name, fd
	return fd, nil
}

// makeDirs makes name step by step: each missing step in the directory that the
// kernel found for the step before.
func (r *root) makeDirs(name string) (int, error) {
	parent := r.fd
	for end := 0; ; {
		next := strings.IndexByte(name[end:], '/')
		step := name
		if next >= 0 {
			step = name[:end+next]
		}
		fd, err := r.open(step, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err == unix.ENOENT {
			if err = r.makeDir(parent, path.Base(step)); err == nil {
				fd, err = r.open(step, unix.O_PATH|unix.O_DIRECTORY, 0)
			}
		}
		if parent != r.fd {
			unix.Close(parent)
		}
		if err != nil {
			return -1, err
		}
		if next < 0 {
			return fd, nil
		}
		parent, end = fd, end+next+1
	}
}

// makeDir makes a directory as other engines do where the archive has none: root's, 0755.
func (r *root) makeDir(parent int, name string) error {
	if r.made != nil {
		if err := r.made(); err != nil {
			return err
		}
	}
	// EEXIST: a symlink that leads nowhere stands there.
	if err := unix.Mkdirat(parent, name, 0o755); err != nil {
		return err
	}
	return unix.Fchmodat(parent, name, 0o755, 0) // whatever the umask is
}

func describeParent(name string, err error) error {
	switch err {
	case unix.ENOTDIR:
		return fmt.Errorf("directory %q: a file stands there", name)
	case unix.EEXIST:
		return fmt.Errorf("directory %q: a symlink that leads nowhere stands there", name)
	case unix.ELOOP:
		return fmt.Errorf("directory %q: symlinks without end", name)
	}
	return fmt.Errorf("directory %q: %w", name, err)
}

// remove deletes name below the directory fd, a tree too. It never follows a
// symlink: unlinkat and O_NOFOLLOW act on the name itself.
func (r *root) remove(fd int, name string) error {
	r.forgetUnless(fd)
	if err := tree.Remove(fd, name); err != unix.ENOENT {
		return err
	}
	return nil
}

// forgetUnless drops the remembered directory unless the caller is using it: a
// removal below fd does not change what fd's own path means.
func (r *root) forgetUnless(fd int) {
	if fd != r.lastFD {
		r.forget()
	}
}

// split checks the name of an entry and parts it into directory and base.
// "." stands for the root itself.
func split(name string) (dir, base string, err error) {
	switch {
	case name == "":
		return "", "", errors.New("entry without a name")
	case len(name) > maxPath:
		return "", "", fmt.Errorf("entry %.60q...: a name of %d bytes", name, len(name))
	case strings.IndexByte(name, 0) >= 0:
		return "", "", fmt.Errorf("entry %.60q: NUL in the name", name)
	}
	for rest := name; rest != ""; {
		var step string
		step, rest, _ = strings.Cut(rest, "/")
		if step == ".." {
			return "", "", fmt.Errorf("entry %.200q: leaves the layer by \"..\"", name)
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return ".", ".", nil
	}
	return path.Dir(clean), path.Base(clean), nil
}
