package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/rootfs/mount/tree"
)

// Volumes on their way in or out have names that no volume can have.
const (
	newPrefix     = ".new-"
	removedPrefix = ".removed-"
)

// ErrLeftover: the volume is removed, but some of its files could not be deleted
// by this process. Sweep, run in the user namespace, deletes them.
var ErrLeftover = errors.New("files remain")

// Users names the containers that use a volume, by reading their configurations.
// It is called with the volume locked, so a container that Claim has just served
// is either in the list already or not yet at Claim.
type Users func(volume string) (containers []string, err error)

// Remove ends the volume name unless a container uses it (*InUseError). One that
// does not exist is a *NotFoundError, with force nothing at all. A damaged
// volume.json is no hindrance.
func (s *Store) Remove(name string, force bool, users Users) error {
	v, err := s.Get(name)
	if v == nil {
		if force && errors.As(err, new(*NotFoundError)) {
			return nil
		}
		return err
	}
	lock, err := v.lock("lock", unix.LOCK_EX)
	if errors.Is(err, errGone) && force {
		return nil
	}
	if errors.Is(err, errGone) {
		return &NotFoundError{name}
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	defer lock.Close()
	by, err := users(name)
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if len(by) > 0 {
		return &InUseError{name, by}
	}
	return s.unlink(v)
}

// unlink takes the volume away by one rename, then deletes its files. A kill in
// between leaves work for Sweep, never half a volume.
func (s *Store) unlink(v *Volume) error {
	trash := filepath.Join(s.dir, removedPrefix+randomName()[:8])
	if err := os.Rename(v.dir, trash); err != nil {
		return fmt.Errorf("remove %s: %w", v.Name, err)
	}
	return discard(trash)
}

func discard(trash string) error {
	err := os.RemoveAll(trash)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w in %s", ErrLeftover, trash)
	}
	return err
}

// Trash lists what removals and creations that were killed left.
func (s *Store) Trash() (names []string, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), removedPrefix):
			// The remover has the volume's lock, until it is deleted itself.
			if lock, err := os.Open(filepath.Join(path, "lock")); err == nil && !free(lock) {
				continue
			}
		case strings.HasPrefix(entry.Name(), newPrefix):
			if lock, err := os.Open(path); err != nil || !free(lock) {
				continue
			}
		default:
			continue
		}
		names = append(names, entry.Name())
	}
	return names, err
}

// free says whether nobody has the lock of a file, and closes it.
func free(lock *os.File) bool {
	defer lock.Close()
	return unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
}

// Sweep deletes what removed volumes and killed processes left.
func (s *Store) Sweep() error { return s.sweepAll("") }

// SweepNew deletes what killed makers left, which needs no namespace.
func (s *Store) SweepNew() error { return s.sweepAll(newPrefix) }

func (s *Store) sweepAll(prefix string) error {
	names, err := s.Trash()
	errs := []error{err}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			errs = append(errs, s.sweep(filepath.Join(s.dir, name)))
		}
	}
	return errors.Join(errs...)
}

// sweep deletes one, unless its maker has locked it meanwhile.
func (s *Store) sweep(path string) error {
	if strings.HasPrefix(filepath.Base(path), newPrefix) {
		held, err := linux.Claim(path, unix.LOCK_NB)
		if err != nil {
			return nil
		}
		defer held.Close()
	}
	return discard(path)
}

// RemoveAnonymous ends those of names that are anonymous and unused: the volumes
// of a container that is removed with --rm or -v.
func (s *Store) RemoveAnonymous(names []string, users Users) error {
	var errs []error
	for _, name := range names {
		v, _ := s.Get(name)
		if v == nil || !v.Anonymous() {
			continue
		}
		err := s.Remove(name, true, users)
		if !errors.As(err, new(*InUseError)) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Pruned is what Prune did, docker's fields.
type Pruned struct {
	VolumesDeleted []string
	SpaceReclaimed uint64 // bytes
}

// Prune removes the volumes that no container uses and that filter accepts:
// anonymous ones, or all of them.
func (s *Store) Prune(all bool, filter Filter, users Users) (Pruned, error) {
	var p Pruned
	volumes, err := s.all()
	errs := []error{err}
	for _, v := range volumes {
		if !all && !filter.All && !v.Anonymous() || !filter.accepts(v) {
			continue
		}
		if by, err := users(v.Name); err != nil || len(by) > 0 {
			errs = append(errs, err)
			continue
		}
		size := v.Size()
		err := s.Remove(v.Name, true, users)
		if errors.As(err, new(*InUseError)) {
			continue // came into use meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.VolumesDeleted = append(p.VolumesDeleted, v.Name)
		p.SpaceReclaimed += size
	}
	return p, errors.Join(append(errs, s.Sweep())...)
}

// Size is the sum of the sizes of the volume's files in bytes, a file with
// several names counted once. What cannot be read does not count.
func (v *Volume) Size() uint64 {
	fd, err := unix.Open(v.Data(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	return tree.Size(fd)
}
