package store

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"bryo/rootfs/image"
)

// heal removes what killed processes left: directories with half a layer, and
// images that were not finished. The storage library itself removes layers that
// it had begun. Never an error: what cannot be removed now can be next time.
func (s *Store) heal() {
	unlock, err := s.locks.try(lockHeal, true)
	if unlock == nil || err != nil {
		return // somebody is at it
	}
	defer unlock()
	s.healStaging()
	s.healLinks()
	s.healImages()
	s.healBooks()
	s.healLayerBooks()
	s.healParted(context.Background())
	s.healUnsynced(context.Background(), false)
}

// healLinks removes short names whose layer is gone: the library deletes a layer
// before its short name, and a kill falls between.
func (s *Store) healLinks() {
	base := filepath.Join(s.root, "storage", "overlay", "l")
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) == 0 {
		return
	}
	unlock, err := s.locks.try(lockImports, true)
	if unlock == nil || err != nil {
		return // a writer may be between the two
	}
	defer unlock()
	for _, entry := range entries {
		name := filepath.Join(base, entry.Name())
		if _, err := os.Stat(name); os.IsNotExist(err) {
			os.Remove(name)
		}
	}
}

// healStaging removes staging directories that no import fills any more: all of
// them when none runs, else those whose lock nobody holds. (The library makes the
// directory before its lock, and removes the lock before the directory.)
func (s *Store) healStaging() {
	base := filepath.Join(s.root, "storage", "overlay", "staging")
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) == 0 {
		return
	}
	alone, err := s.locks.try(lockImports, true)
	if err != nil {
		return
	}
	if alone != nil {
		defer alone()
	} else if entries = s.abandonedOf(base, entries); len(entries) == 0 {
		return
	}
	for _, entry := range entries {
		os.RemoveAll(filepath.Join(base, entry.Name()))
	}
}

// abandonedOf keeps the directories whose filler is gone. None is judged while an
// import makes one: its lock file is there a moment before it is locked, and the
// import fails if it finds the lock held. Whoever has died stays dead, so that
// they can be removed without the lock.
func (s *Store) abandonedOf(base string, entries []os.DirEntry) []os.DirEntry {
	unlock, err := s.locks.try(lockStaging, true)
	if unlock == nil || err != nil {
		return nil
	}
	defer unlock()
	return slices.DeleteFunc(entries, func(entry os.DirEntry) bool {
		return !abandoned(filepath.Join(base, entry.Name()))
	})
}

// abandoned tells whether the process that filled a staging directory is gone.
func abandoned(dir string) bool {
	file, err := os.OpenFile(filepath.Join(dir, "staging.lock"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock) == nil
}

// healImages removes images without a configuration: their writer was killed
// before it gave them a name.
func (s *Store) healImages() {
	stored, err := s.storage.Images()
	if err != nil {
		return
	}
	complete, err := image.List(s.root)
	if err != nil || len(complete) == len(stored) {
		return
	}
	known := map[string]bool{}
	for _, i := range complete {
		known[i.ID] = true
	}
	unlock, err := s.locks.try(lockImports, true)
	if unlock == nil || err != nil {
		return // its writer may be alive
	}
	defer unlock()
	s.mutate(func() error {
		done := s.markLayers()
		for _, i := range stored {
			if !known[i.ID] {
				if _, err := s.storage.DeleteImage(i.ID, true); err != nil {
					return err
				}
			}
		}
		done()
		return nil
	})
}
