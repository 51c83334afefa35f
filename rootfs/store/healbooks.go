package store

import (
	"os"
	"path/filepath"
	"strings"

	"bryo/rootfs/image"
)

// healBooks removes what killed writers of the library's books left beside them:
// new versions of files that never got their name, and directories of images whose
// entry is gone. All of them write with records.lock held, and an image's entry is
// made before its directory and deleted before it.
func (s *Store) healBooks() {
	if len(s.leftOfImages()) == 0 {
		return
	}
	unlock, err := image.Lock(s.root)
	if err != nil {
		return
	}
	defer unlock()
	removeAll(s.leftOfImages()) // as it is now that nobody writes
}

// healLayerBooks does the same for layers, which are entered by imports without
// records.lock.
func (s *Store) healLayerBooks() {
	if len(s.leftOfLayers()) == 0 {
		return
	}
	imports, err := s.locks.try(lockImports, true)
	if imports == nil || err != nil {
		return
	}
	defer imports()
	unlock, err := image.Lock(s.root)
	if err != nil {
		return
	}
	defer unlock()
	removeAll(s.leftOfLayers())
}

func removeAll(paths []string) {
	for _, path := range paths {
		os.RemoveAll(path)
	}
}

// tempPrefix begins the names that the library gives to versions being written.
const tempPrefix = ".tmp-"

// leftOfImages are the paths that no entry accounts for, unless a writer is alive.
func (s *Store) leftOfImages() []string {
	dir := filepath.Join(s.root, "storage", "overlay-images")
	names := namesIn(dir)
	left := unnamed(dir, names)
	// The entries after the directories: see healBooks for their order.
	stored, err := s.storage.Images()
	if err != nil {
		return nil
	}
	known := map[string]bool{}
	for _, i := range stored {
		known[i.ID] = true
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		switch {
		case known[name]:
			left = append(left, unnamed(path, namesIn(path))...)
		case isImageDir(name):
			left = append(left, path)
		}
	}
	return left
}

func isImageDir(name string) bool {
	return len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}

func (s *Store) leftOfLayers() (left []string) {
	for _, dir := range []string{filepath.Join(s.root, "storage"), filepath.Join(s.root, "storage-run", bootID())} {
		dir = filepath.Join(dir, "overlay-layers")
		left = append(left, unnamed(dir, namesIn(dir))...)
	}
	return left
}

func unnamed(dir string, names []string) (paths []string) {
	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

func namesIn(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
