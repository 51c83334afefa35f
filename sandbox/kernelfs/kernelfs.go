// Package kernelfs mounts what a container sees of the kernel's own file systems: /proc,
// /sys and the message queues, with what is read-only or hidden of them. The container's
// first process calls Mount in its new namespaces, before libcontainer's init looks at
// the rest.
//
// libcontainer does the same with six times the system calls, as it opens and checks each
// place by its name, several times: a millisecond of a start. Here every place is
// opened once, below the root, and the mounts are made by descriptors. Take refuses
// whatever is not of the plain kind, and libcontainer does that then.
package kernelfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// View is what to mount. It travels from the supervisor to the first process as JSON.
type View struct {
	Root     string   // the container's root, mounted
	Dev      string   // what will be /dev, mounted; it has a null device
	ReadSys  bool     // /sys is read-only
	Queues   bool     // on Dev/mqueue
	ReadOnly []string // paths in the root
	Hidden   []string
}

// Error is the step that failed and why.
type Error struct {
	Step string
	Err  error
}

func (e *Error) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Take moves from spec to a View what Mount can do; nil, and spec as it was: nothing. The
// caller knows that nothing of the user's is mounted there and that /proc and /sys are
// directories of the root.
func Take(spec *specs.Spec) *View {
	view := &View{Root: spec.Root.Path, ReadOnly: spec.Linux.ReadonlyPaths, Hidden: spec.Linux.MaskedPaths}
	if !slices.ContainsFunc(spec.Mounts, isPlain("/proc", "proc")) || !slices.ContainsFunc(spec.Mounts, isPlain("/sys", "sysfs")) ||
		slices.ContainsFunc(slices.Concat(view.ReadOnly, view.Hidden), isElsewhere) {
		return nil
	}
	left := make([]specs.Mount, 0, len(spec.Mounts))
	for _, m := range spec.Mounts {
		switch {
		case m.Destination == "/proc":
		case m.Destination == "/sys":
			view.ReadSys = slices.Contains(m.Options, "ro")
		case isPlain("/dev/mqueue", "mqueue")(m):
			view.Queues = true
		default:
			if m.Destination == "/dev" && m.Type == "bind" {
				view.Dev = m.Source
			}
			left = append(left, m)
		}
	}
	if view.Dev == "" {
		return nil
	}
	linux := *spec.Linux
	linux.ReadonlyPaths, linux.MaskedPaths = nil, nil
	spec.Mounts, spec.Linux = left, &linux
	return view
}

// isPlain: a mount of that kind with the options that Mount uses.
func isPlain(place, kind string) func(specs.Mount) bool {
	return func(m specs.Mount) bool {
		return m.Destination == place && m.Type == kind && !slices.ContainsFunc(m.Options, func(option string) bool {
			return !slices.Contains([]string{"nosuid", "noexec", "nodev", "ro", "rw"}, option)
		})
	}
}

func isElsewhere(name string) bool {
	name = path.Clean(name)
	return !strings.HasPrefix(name, "/proc/") && !strings.HasPrefix(name, "/sys/")
}

// flags of all these mounts.
const flags = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// Mount makes the mounts in this process's mount namespace.
func (v *View) Mount() error {
	root, err := openDir(v.Root)
	if err != nil {
		return &Error{"open container root", err}
	}
	defer unix.Close(root)
	if err := mountNew("proc", root, "proc", false); err != nil {
		return &Error{"mount /proc", err}
	}
	if err := mountNew("sysfs", root, "sys", v.ReadSys); err != nil {
		return &Error{"mount /sys", err}
	}
	dev, err := openDir(v.Dev)
	if err != nil {
		return &Error{"open /dev", err}
	}
	defer unix.Close(dev)
	if v.Queues {
		if err := mountNew("mqueue", dev, "mqueue", false); err != nil {
			return &Error{"mount /dev/mqueue", err}
		}
	}
	for _, path := range v.ReadOnly {
		if err := protect(root, path); err != nil {
			return &Error{"make " + path + " read-only", err}
		}
	}
	return hide(root, dev, v.Hidden)
}

func openDir(path string) (int, error) {
	return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// mountNew mounts a new file system on a directory that dir has by this very name.
func mountNew(kind string, dir int, name string, readOnly bool) error {
	attributes := flags
	if readOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	made, err := create(kind, attributes, readOnly, [2]string{"source", kind})
	if err != nil {
		return err
	}
	defer unix.Close(made)
	place, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(place)
	return move(made, place)
}

// create makes a file system that is mounted nowhere yet.
func create(kind string, attributes int, readOnly bool, options ...[2]string) (int, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	for _, o := range options {
		if err := unix.FsconfigSetString(fd, o[0], o[1]); err != nil {
			return -1, err
		}
	}
	if readOnly { // the file system too, as mount(2) has it
		if err := unix.FsconfigSetFlag(fd, "ro"); err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return -1, err
	}
	return unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attributes)
}

func move(mount, place int) error {
	return unix.MoveMount(mount, "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// find opens a path of the root; ok is false for one that this kernel does not have.
func find(root int, path string) (fd int, ok bool, err error) {
	fd, err = unix.Openat2(root, strings.TrimPrefix(path, "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) {
		return -1, false, nil
	}
	return fd, err == nil, err
}

// clone is a mount of the same thing, mounted nowhere yet.
func clone(fd int, recursive uint) (int, error) {
	return unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|recursive)
}

func protect(root int, path string) error {
	fd, ok, err := find(root, path)
	if !ok {
		return err
	}
	defer unix.Close(fd)
	copied, err := clone(fd, unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(copied)
	read := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(copied, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &read); err != nil {
		return err
	}
	return move(copied, fd)
}

// hide covers files with the null device and directories with one that has nothing in it
// and takes nothing.
func hide(root, dev int, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	null, err := openNull(dev)
	if err != nil {
		return &Error{"hide files", err}
	}
	defer unix.Close(null)
	empty, err := emptyDir()
	if err != nil {
		return &Error{"hide directories", err}
	}
	defer unix.Close(empty)
	covers := covers{null: null, empty: empty}
	for _, path := range paths {
		if err := covers.put(root, path); err != nil {
			return &Error{"hide " + path, err}
		}
	}
	return nil
}

// covers is what hidden files and directories are covered with.
type covers struct {
	null, empty int
	emptyPlaced bool
}

// put covers a path of the root, if this kernel has it. The empty directory itself goes
// to the first place, and copies of it to the others: who closes a mount that is nowhere
// waits for all processors.
func (c *covers) put(root int, path string) error {
	fd, ok, err := find(root, path)
	if !ok {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	cover := c.null
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		cover = c.empty
		if !c.emptyPlaced {
			c.emptyPlaced = true
			return move(cover, fd)
		}
	}
	copied, err := clone(cover, 0)
	if err != nil {
		return err
	}
	defer unix.Close(copied)
	return move(copied, fd)
}

// openNull opens the null device and makes sure that it is one: another file would show
// what is hidden, or could be written to.
func openNull(dev int) (int, error) {
	fd, err := unix.Openat(dev, "null", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3)) {
		err = fmt.Errorf("null of /dev is device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func emptyDir() (int, error) {
	fd, err := create("tmpfs", unix.MOUNT_ATTR_RDONLY, true, [2]string{"source", "tmpfs"}, [2]string{"nr_blocks", "1"}, [2]string{"nr_inodes", "1"})
	if errors.Is(err, unix.EINVAL) { // a distribution's kernel wants two
		fd, err = create("tmpfs", unix.MOUNT_ATTR_RDONLY, true, [2]string{"source", "tmpfs"}, [2]string{"nr_blocks", "1"}, [2]string{"nr_inodes", "2"})
	}
	return fd, err
}
