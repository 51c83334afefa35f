package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Layers are entered in the store's books without waiting for the disk; one
// syncfs(2) before the image gets its entry covers them all. An entry that
// outlives its data would be believed for ever, so a mark is on disk before the
// first of them: root/unsynced/BOOT.*, removed after the sync. A mark of this boot
// is a killed import, whose data the kernel still has. A mark of another boot is
// a power loss: then every layer goes that no image has.

// mark is that of one import.
type mark struct {
	root string
	path string // empty: not made yet
}

func unsyncedDir(root string) string { return filepath.Join(root, "unsynced") }

// make puts the mark on disk, once.
func (m *mark) make() error {
	if m.path != "" {
		return nil
	}
	dir := unsyncedDir(m.root)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, bootID()+".")
	if err != nil {
		return err
	}
	file.Close()
	m.path = file.Name()
	return syncDir(dir)
}

// settle waits until all layers are on disk, this import's and those that it
// relies on and another has made.
func (m *mark) settle() error {
	marks, err := marksIn(m.root)
	if err != nil || len(marks) == 0 {
		return err
	}
	if err := syncFileSystem(filepath.Join(m.root, "storage")); err != nil {
		return err
	}
	if m.path == "" {
		return nil
	}
	path := m.path
	m.path = ""
	return os.Remove(path)
}

func marksIn(root string) ([]string, error) {
	entries, err := os.ReadDir(unsyncedDir(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

// lostPower tells whether a mark of another boot is there. Where the boot has no
// name, every mark counts as one.
func lostPower(root string) bool {
	marks, _ := marksIn(root)
	for _, name := range marks {
		if boot, _, _ := strings.Cut(name, "."); boot == unknownBoot || boot != bootID() {
			return true
		}
	}
	return false
}

// healUnsynced serves the marks of killed imports, and after a power loss removes
// what may be torn.
func (s *Store) healUnsynced(ctx context.Context, wait bool) error {
	if marks, err := marksIn(s.root); err != nil || len(marks) == 0 {
		return err
	}
	take := func() (func(), error) { return s.locks.try(lockImports, true) }
	if wait {
		take = func() (func(), error) { return s.locks.take(ctx, lockImports, true) }
	}
	unlock, err := take()
	if unlock == nil || err != nil {
		return err
	}
	defer unlock()
	marks, err := marksIn(s.root) // none is alive now
	if err != nil || len(marks) == 0 {
		return err
	}
	if lostPower(s.root) {
		_, err = s.removeOrphans(ctx)
	} else {
		err = syncFileSystem(filepath.Join(s.root, "storage"))
	}
	if err != nil {
		return err
	}
	for _, name := range marks {
		if err := os.Remove(filepath.Join(unsyncedDir(s.root), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// removeTornLinks goes before the storage library after a power loss: it takes a
// layer's "link" file for a name in overlay/l, and an empty one, cut off by the
// loss, for that directory itself, which it then deletes with the layer.
func removeTornLinks(root string) error {
	if !lostPower(root) {
		return nil
	}
	links, err := filepath.Glob(filepath.Join(root, "storage", "overlay", "*", "link"))
	if err != nil {
		return err
	}
	for _, link := range links {
		text, err := os.ReadFile(link)
		if err == nil && !isLinkName(text) {
			err = os.Remove(link)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isLinkName: 26 capitals and digits. A lost block can read as zeros, too.
func isLinkName(text []byte) bool {
	for _, c := range text {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(text) > 0
}

const unknownBoot = "unknown"

func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return unknownBoot
	}
	return strings.TrimSpace(string(text))
}

// syncFileSystem waits until everything written to the file system of dir is on
// disk: one call instead of one for each file.
func syncFileSystem(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
