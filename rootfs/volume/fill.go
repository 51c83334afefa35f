package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount"
	"bryo/rootfs/mount/inroot"
	"bryo/rootfs/mount/tree"
)

// Source returns the function that mount.Stage asks for the source of a volume.
// rootfs is the container's mounted root. With fill, a volume that is still empty
// first receives what the image has at the mount's target; true at the first
// start of a container, false later: what a program deleted stays deleted.
//
// Runs in the supervisor, as root of the user namespace.
func (s *Store) Source(rootfs string, fill bool) func(mount.Mount) (mount.Mount, error) {
	return func(m mount.Mount) (mount.Mount, error) {
		v, err := s.Get(m.Source)
		if err != nil {
			return m, err
		}
		if len(v.Options) > 0 {
			return v.driverSource(m)
		}
		fill := fill && !m.Volume.NoCopy && m.Volume.Subpath == ""
		if err := v.ready(rootfs, m.Target, fill); err != nil {
			return m, err
		}
		m.Type, m.Source = mount.Bind, v.Data()
		return m, nil
	}
}

// driverSource: what the options stand for, at the target and with the flags of m.
func (v *Volume) driverSource(m mount.Mount) (mount.Mount, error) {
	by, err := driverMount(v.Options)
	if err != nil {
		return m, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	if by.Type == mount.Tmpfs && m.Volume.Subpath != "" {
		return m, fmt.Errorf("volume %s is a tmpfs and has no subpath %s yet", v.Name, m.Volume.Subpath)
	}
	m.Type, m.Source = by.Type, by.Source
	m.Bind.NonRecursive = by.Bind.NonRecursive
	m.ReadOnly = m.ReadOnly || by.ReadOnly
	m.Flags = append(by.Flags, m.Flags...)
	if m.Type == mount.Tmpfs {
		m.Tmpfs = append(by.Tmpfs, m.Flags...)
	}
	return m, nil
}

// The steps of filling, and what a kill leaves of each:
//
//	copying/   being copied from the image       thrown away, done again
//	copied/    complete and on disk              moved on by whoever comes next
//	_data      entries moved in, one by one      -
//
// So _data never shows half a file, and the moves need no image to be finished.

// ready finishes what a killed supervisor began, and fills an empty volume. The
// lock is held by one container at a time and by no running one.
func (v *Volume) ready(rootfs, target string, fill bool) error {
	lock, err := v.lock("fill.lock", unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.Name, err)
	}
	defer lock.Close()
	if err := v.finish(); err != nil {
		return fmt.Errorf("fill volume %s: %w", v.Name, err)
	}
	if !fill {
		return nil
	}
	if err := v.fill(rootfs, target); err != nil {
		return fmt.Errorf("fill volume %s from %s: %w", v.Name, target, err)
	}
	return nil
}

func (v *Volume) fill(rootfs, target string) error {
	if empty, err := isEmpty(v.Data()); err != nil || !empty {
		return err
	}
	src, err := openImageDir(rootfs, target)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("the image has a file there: %w", err)
	}
	if err != nil {
		return err
	}
	defer unix.Close(src)
	if err := v.copyFrom(src); err != nil {
		return err
	}
	return v.finish()
}

// openImageDir opens target as a program in the container would: links are
// followed, and end inside the root.
func openImageDir(rootfs, target string) (int, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	fd, err := inroot.Open(root, target, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		var errno unix.Errno
		errors.As(err, &errno)
		return -1, errno
	}
	// A link to "/" would copy the whole image, and the runtime refuses it anyway.
	var top, here unix.Stat_t
	if unix.Fstat(root, &top) == nil && unix.Fstat(fd, &here) == nil && top.Dev == here.Dev && top.Ino == here.Ino {
		unix.Close(fd)
		return -1, errors.New("invalid specification: destination can't be '/'")
	}
	return fd, nil
}

// copyFrom makes copied/ out of the open directory src.
func (v *Volume) copyFrom(src int) error {
	copying := filepath.Join(v.dir, "copying")
	if err := os.RemoveAll(copying); err != nil {
		return err
	}
	if err := os.Mkdir(copying, 0o700); err != nil {
		return err
	}
	if err := v.copyDurably(copying, src); err != nil {
		_ = os.RemoveAll(copying) // a full disk needs the room back
		return err
	}
	return os.Rename(copying, filepath.Join(v.dir, "copied"))
}

// copyDurably copies and, as a volume is what a user keeps, sees to it that the
// contents survive a power cut no less than the name that comes next: one call
// for any number of files. Anonymous volumes go with their container.
func (v *Volume) copyDurably(copying string, src int) error {
	dst, err := unix.Open(copying, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if err := tree.Copy(dst, src); err != nil {
		return err
	}
	if empty, _ := isEmpty(copying); empty || v.Anonymous() {
		return nil
	}
	return unix.Syncfs(dst)
}

// finish moves the entries of copied/ into _data, then owner, mode and times of
// the directory itself. What a container wrote meanwhile wins.
func (v *Volume) finish() error {
	copied := filepath.Join(v.dir, "copied")
	src, err := unix.Open(copied, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := unix.Open(v.Data(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	times, err := statTimes(src) // before reading and moving change them
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(copied)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		err := unix.Renameat2(src, entry.Name(), dst, entry.Name(), unix.RENAME_NOREPLACE)
		if err == unix.EINVAL { // no such flag on this filesystem
			err = unix.Renameat(src, entry.Name(), dst, entry.Name())
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%s: %w", entry.Name(), err)
		}
	}
	if err := tree.Meta(dst, src); err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(dst, ".", times, 0); err != nil {
		return err
	}
	return os.RemoveAll(copied)
}

func statTimes(fd int) ([]unix.Timespec, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return []unix.Timespec{st.Atim, st.Mtim}, err
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}
