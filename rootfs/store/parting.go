package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"bryo/rootfs/image"
)

// Layers that no image has are kept for whoever pulls again, and so is an image that
// has no name yet. Not so those of a commit, of an archive or of a removed image:
// nobody comes back for them. Their writer leaves a mark in root/parting while he is
// between the two, with lockImports or records.lock held: if both can be had, he is
// dead, and what he was at goes. Nothing here is an error: marks serve the killed
// only, and a full disk must not keep anyone from removing.

func (s *Store) partingDir() string { return filepath.Join(s.root, "parting") }

// markLayers says that there may be layers without image. Whoever gets to the end
// takes the mark away.
func (s *Store) markLayers() (done func()) {
	os.Mkdir(s.partingDir(), 0o700)
	file, err := os.CreateTemp(s.partingDir(), "layers.")
	if err != nil {
		return func() {}
	}
	file.Close()
	return func() { os.Remove(file.Name()) }
}

const imageMark = "image."

// markImage says that an image without a name is not yet to be, or no more. Called
// within mutate.
func (s *Store) markImage(id string) {
	os.Mkdir(s.partingDir(), 0o700)
	os.WriteFile(filepath.Join(s.partingDir(), imageMark+id), nil, 0o600)
}

// imageDone takes the mark away, that of a killed one too.
func (s *Store) imageDone(id string) { os.Remove(filepath.Join(s.partingDir(), imageMark+id)) }

// healParted removes what dead writers marked.
func (s *Store) healParted(ctx context.Context) {
	if len(namesIn(s.partingDir())) == 0 {
		return
	}
	images, err := s.tryLockImages()
	if err != nil {
		return // a container is being made
	}
	defer images()
	imports, err := s.locks.try(lockImports, true)
	if imports == nil || err != nil {
		return // a writer may be alive
	}
	defer imports()
	s.mutate(func() error {
		marks := namesIn(s.partingDir())
		if len(marks) == 0 {
			return nil
		}
		for _, name := range marks {
			if id, isImage := strings.CutPrefix(name, imageMark); isImage {
				if err := s.removeNameless(id); err != nil {
					return err
				}
			}
		}
		// The library finishes what it had begun to delete as soon as it reads.
		if _, err := s.storage.Layers(); err != nil {
			return err
		}
		if _, err := s.removeOrphans(ctx); err != nil {
			return err
		}
		for _, name := range marks {
			os.Remove(filepath.Join(s.partingDir(), name))
		}
		return nil
	})
}

// removeNameless removes an image that did not get its name, or has lost its last one,
// and that nobody uses.
func (s *Store) removeNameless(id string) error {
	found, err := s.find(id, "")
	if errors.Is(err, image.ErrNotFound) {
		return nil
	}
	if err != nil || len(found.Names) > 0 || len(s.users(id)) > 0 {
		return err
	}
	_, err = s.deleteImage(found)
	return err
}
