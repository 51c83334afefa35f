package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"bryo/rootfs/image"
	"bryo/rootfs/reference"
)

// commit makes an image of layers that are in the store, and names it last: until
// then an interrupted commit leaves nothing that a name leads to.
func (s *Store) commit(p *plan, names []string, options ImportOptions) (record *image.Record, err error) {
	err = s.mutate(func() error {
		if options.Local && len(names) > 0 && !s.hasImage(p.id) {
			s.markImage(p.id)
		}
		if err := s.createImage(p, options.Index); err != nil {
			return err
		}
		if err := s.noteImport(p, names, options); err != nil {
			return err
		}
		if err := s.giveNames(p.id, names); err != nil {
			return err
		}
		if record, err = s.writeRecords(p.id, names); err != nil {
			return err
		}
		s.imageDone(p.id)
		return syncDir(filepath.Join(s.root, "storage", "overlay-images"))
	})
	return record, err
}

func (s *Store) hasImage(id string) bool {
	_, err := s.storage.Image(id)
	return err == nil
}

// writeRecords makes the records that the next run looks for.
func (s *Store) writeRecords(id string, names []string) (*image.Record, error) {
	found, err := s.find(id, "")
	if err != nil {
		return nil, err
	}
	record, err := found.Record(s.root)
	if err != nil {
		return nil, err
	}
	if err := image.Write(s.root, "", "", record); err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(names) {
		record.Reference = name
		if err := image.Write(s.root, name, "", record); err != nil {
			return nil, err
		}
	}
	return record, nil
}

// createImage writes the image's files, or completes those of one that exists.
func (s *Store) createImage(p *plan, index []byte) error {
	top := ""
	if len(p.layers) > 0 {
		top = p.layers[len(p.layers)-1].id
	}
	existing, err := s.storage.Image(p.id)
	if errors.Is(err, storage.ErrImageUnknown) {
		existing, err = s.storage.CreateImage(p.id, nil, top, "", &storage.ImageOptions{
			CreationDate: p.parsed.Created, Digest: digest.Digest(p.digest),
		})
	}
	if err != nil {
		return fmt.Errorf("image %.12s: %w", p.id, err)
	}
	if !slices.Contains(existing.BigDataNames, storage.ImageDigestBigDataKey) {
		if err := s.keepBlob(p.id, storage.ImageDigestBigDataKey, p.manifest); err != nil {
			return err
		}
	}
	if index != nil {
		if err := s.keepBlob(p.id, storage.ImageDigestManifestBigDataNamePrefix+"-"+digestOf(index), index); err != nil {
			return err
		}
	}
	if slices.Contains(existing.BigDataNames, "sha256:"+p.id) {
		return nil
	}
	// The configuration last: with it the image counts as complete.
	return s.keepBlob(p.id, "sha256:"+p.id, p.config)
}

func (s *Store) keepBlob(id, key string, blob []byte) error {
	err := s.storage.SetImageBigData(id, key, blob, func([]byte) (digest.Digest, error) { return digest.Digest(digestOf(blob)), nil })
	if err != nil {
		return fmt.Errorf("image %.12s: keep %s: %w", id, key, err)
	}
	return nil
}

// noteImport adds to the image's note what this import knows.
func (s *Store) noteImport(p *plan, names []string, options ImportOptions) error {
	found, err := s.find(p.id, "")
	if err != nil {
		return err
	}
	note := found.Note
	for _, name := range names {
		ref, err := reference.Parse(name)
		if err != nil {
			return err
		}
		if !options.Local {
			addDigests(&note, ref, p.digest, options.Index)
		}
	}
	if options.Comment != "" {
		note.Comment = options.Comment
	}
	if note.Size == 0 {
		if note.Size, err = s.layersSize(found); err != nil {
			return err
		}
	}
	return s.setNote(p.id, note)
}

// addDigests notes the repository's names by digest for the image.
func addDigests(note *image.Note, ref reference.Reference, manifest string, index []byte) {
	digests := []string{manifest}
	if index != nil {
		digests = []string{digestOf(index), manifest} // docker shows the index's
	}
	for _, digest := range digests {
		name := ref.Name() + "@" + digest
		if !slices.Contains(note.Digests, name) {
			note.Digests = append(note.Digests, name)
		}
	}
}

func (s *Store) layersSize(found *image.Image) (int64, error) {
	layers, err := image.Layers(s.root)
	if err != nil {
		return 0, err
	}
	chain, err := found.Chain(layers)
	if err != nil {
		return 0, err
	}
	var size int64
	for _, layer := range chain {
		size += layer.Size
	}
	return size, nil
}

// giveNames moves the names to the image, and with them what --platform finds.
func (s *Store) giveNames(id string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	images, err := image.List(s.root)
	if err != nil {
		return err
	}
	target, err := image.Find(images, id, "")
	if err != nil {
		return err
	}
	platform, err := platformOf(target)
	if err != nil {
		return err
	}
	for i := range images {
		if images[i].ID != id {
			if err := s.losePlatformNames(&images[i], names, platform); err != nil {
				return err
			}
		}
	}
	note := target.Note
	for _, name := range names {
		if !slices.Contains(note.PlatformNames, name) {
			note.PlatformNames = append(note.PlatformNames, name)
		}
	}
	note.Tagged = time.Now().UTC()
	if err := s.setNote(id, note); err != nil {
		return err
	}
	if err := s.storage.AddNames(id, names); err != nil {
		return fmt.Errorf("name image %.12s: %w", id, err)
	}
	return image.RemoveNames(s.root, names...)
}

// losePlatformNames: of one platform only the latest image has a name.
func (s *Store) losePlatformNames(other *image.Image, names []string, platform string) error {
	held := func(name string) bool { return slices.Contains(names, name) }
	if !slices.ContainsFunc(other.Note.PlatformNames, held) {
		return nil
	}
	if theirs, err := platformOf(other); err != nil || theirs != platform {
		return err
	}
	note := other.Note
	note.PlatformNames = slices.DeleteFunc(slices.Clone(note.PlatformNames), held)
	return s.setNote(other.ID, note)
}

func platformOf(i *image.Image) (string, error) {
	config, err := i.Config()
	if err != nil {
		return "", fmt.Errorf("image %.12s: %w", i.ID, err)
	}
	return config.Platform(), nil
}

// digestIn is the digest in a normalized name, or "".
func digestIn(name string) string {
	_, digest, _ := strings.Cut(name, "@")
	return digest
}

// syncDir puts a rename in dir on disk.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Fsync(int(file.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
