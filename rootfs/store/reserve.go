package store

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The reserve is disk space, and inodes, that the store holds for the day when there
// are none left: to remove an image its books (images.json, layers.json) are written
// anew beside the old ones. Without it a full disk could not be emptied by bryo. A
// store that is opened to remove gives the space free, and takes it back when it
// is closed; a killed remover's successor does.

// reserveFloor is what small books, their directory blocks and notes take.
const reserveFloor = 1 << 20

// reserveInodes is how many files a removal may have to make at a time.
const reserveInodes = 8

func (s *Store) inodePaths() (paths []string) {
	for n := range reserveInodes - 1 {
		paths = append(paths, s.reservePath()+"."+strconv.Itoa(n))
	}
	return paths
}

func (s *Store) reservePath() string { return filepath.Join(s.root, "reserve") }

// releaseReserve gives the space free until unlock is called and, if nobody else
// removes images at that moment, takes it back.
func (s *Store) releaseReserve() (unlock func(), err error) {
	shared, err := s.locks.lock(lockReserve, false, unix.F_OFD_SETLKW)
	if err != nil {
		return nil, err
	}
	// The last that holdReserve makes goes first: while it is there, so are the others.
	for _, path := range append([]string{s.reservePath()}, s.inodePaths()...) {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			shared()
			return nil, err
		}
	}
	return func() { shared(); s.holdReserve() }, nil
}

// holdReserve takes as much of the space as there is. Never an error: a disk that
// is too full for it is found out by whatever comes next.
func (s *Store) holdReserve() {
	want := s.reserveSize()
	var st unix.Stat_t
	if unix.Stat(s.reservePath(), &st) == nil && st.Blocks*512 >= want {
		return
	}
	unlock, err := s.locks.try(lockReserve, true)
	if unlock == nil || err != nil {
		return // images are being removed
	}
	defer unlock()
	for _, path := range s.inodePaths() {
		if file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
			file.Close()
		}
	}
	file, err := os.OpenFile(s.reservePath(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer file.Close()
	if unix.Fallocate(int(file.Fd()), 0, 0, want) == unix.EOPNOTSUPP {
		file.Write(make([]byte, want)) // such file systems write what they hold
	}
}

// reserveSize is twice the books: two versions of one are there at a time.
func (s *Store) reserveSize() int64 {
	size := int64(reserveFloor)
	for _, name := range []string{"overlay-images/images.json", "overlay-layers/layers.json"} {
		if info, err := os.Stat(filepath.Join(s.root, "storage", name)); err == nil {
			size += 2 * info.Size()
		}
	}
	return size
}
