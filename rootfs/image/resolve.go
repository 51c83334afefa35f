package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"bryo/rootfs/reference"
)

// NotFoundError says that no image of the store answers to Ref.
type NotFoundError struct{ Ref, Platform string }

func (e *NotFoundError) Error() string {
	if e.Platform != "" {
		return fmt.Sprintf("No such image: %s for platform %s", e.Ref, e.Platform)
	}
	return "No such image: " + e.Ref
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// AmbiguousError says that more than one image ID begins with Prefix.
type AmbiguousError struct{ Prefix string }

func (e *AmbiguousError) Error() string {
	return "ambiguous image ID prefix " + e.Prefix + ": more than one image begins so"
}

// Find picks the image that ref names, as Docker does: by whole ID, by name, by
// digest, by the beginning of an ID. With a platform the image must be of it;
// one that lost the name to another platform still answers then.
func Find(images []Image, ref, platform string) (*Image, error) {
	id := strings.TrimPrefix(ref, "sha256:")
	if len(id) == 64 && isHex(id) {
		return findID(images, ref, id, platform)
	}
	if name, err := Normalize(ref); err == nil {
		found, err := findName(images, name, platform)
		if found != nil || err != nil {
			return found, err
		}
	}
	return findID(images, ref, id, platform)
}

func findName(images []Image, name, platform string) (*Image, error) {
	byDigest := strings.Contains(name, "@")
	for i := range images {
		image := &images[i]
		if slices.Contains(image.Names, name) || (byDigest && slices.Contains(image.Digests(), name)) {
			if fits, err := image.fits(platform); fits || err != nil {
				return image, err
			}
		}
	}
	if platform == "" {
		return nil, nil
	}
	for i := range images {
		image := &images[i]
		if slices.Contains(image.Note.PlatformNames, name) {
			if fits, err := image.fits(platform); fits || err != nil {
				return image, err
			}
		}
	}
	return nil, nil
}

func findID(images []Image, ref, prefix, platform string) (*Image, error) {
	var found *Image
	if prefix != "" && isHex(prefix) {
		for i := range images {
			if !strings.HasPrefix(images[i].ID, prefix) {
				continue
			}
			if found != nil {
				return nil, &AmbiguousError{prefix}
			}
			found = &images[i]
		}
	}
	if found == nil {
		return nil, &NotFoundError{Ref: shown(ref)}
	}
	if fits, err := found.fits(platform); err != nil {
		return nil, err
	} else if !fits {
		return nil, &NotFoundError{Ref: shown(ref), Platform: platform}
	}
	return found, nil
}

// shown is a reference as docker words it: with the tag that was meant.
func shown(ref string) string {
	if parsed, err := reference.Parse(ref); err == nil {
		return parsed.Familiar()
	}
	return ref
}

func (i *Image) fits(platform string) (bool, error) {
	if platform == "" {
		return true, nil
	}
	config, err := i.Config()
	if err != nil {
		return false, err
	}
	return SamePlatform(platform, config.Platform()), nil
}

// Resolve is Lookup's slow way: it reads the store's own files and writes the
// record for the next time. A few milliseconds; no namespace.
func Resolve(root, ref, platform string) (*Record, error) {
	unlock, err := Lock(root)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stamp, err := StoreStamp(root)
	if err != nil {
		return nil, err
	}
	if !InStep(root) {
		// Someone else changed the store, or a writer died: no record is sure.
		if err := Clear(root); err != nil {
			return nil, err
		}
	}
	images, err := List(root)
	if err != nil {
		return nil, err
	}
	found, err := Find(images, ref, platform)
	if err != nil {
		return nil, err
	}
	record, err := found.Record(root)
	if err != nil {
		return nil, err
	}
	if err := keep(root, ref, platform, found, record); err != nil && !isReadOnly(err) {
		return nil, err
	}
	if now, err := StoreStamp(root); err == nil && now == stamp {
		err = SetStamp(root)
		if err != nil && !isReadOnly(err) {
			return nil, err
		}
	}
	record.Stamp = stamp
	return record, nil
}

// isReadOnly: a store on a read-only or full file system can still be run from.
func isReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, os.ErrPermission)
}

func keep(root, ref, platform string, found *Image, record *Record) error {
	if err := Write(root, "", "", record); err != nil {
		return err
	}
	name, err := Normalize(ref)
	if err != nil || !found.answers(name) {
		return nil // found by its ID
	}
	record.Reference = name
	return Write(root, name, platform, record)
}

func (i *Image) answers(name string) bool {
	return slices.Contains(i.Names, name) || slices.Contains(i.Note.PlatformNames, name) || slices.Contains(i.Digests(), name)
}

// Record makes the image's record, without Reference and Stamp.
func (i *Image) Record(root string) (*Record, error) {
	config, err := i.Config()
	if err != nil {
		return nil, fmt.Errorf("image %.12s: %w", i.ID, err)
	}
	layers, err := Layers(root)
	if err != nil {
		return nil, err
	}
	chain, err := i.Chain(layers)
	if err != nil {
		return nil, err
	}
	return i.record(root, config, chain)
}

func (i *Image) record(root string, config *Config, chain []Layer) (*Record, error) {
	record := &Record{ID: i.ID, Digest: i.Digest, Config: *config, Size: i.Note.Size}
	overlay := filepath.Join(Graph(root), "overlay")
	for _, layer := range chain {
		link, err := os.ReadFile(filepath.Join(overlay, layer.ID, "link"))
		if err != nil {
			return nil, fmt.Errorf("image %.12s: %w", i.ID, err)
		}
		record.Layers = append(record.Layers, filepath.Join(overlay, layer.ID, "diff"))
		record.Short = append(record.Short, filepath.Join("l", filepath.Base(string(link))))
		if i.Note.Size == 0 {
			record.Size += layer.Size
		}
	}
	if len(chain) == 0 {
		return record, addEmpty(root, record)
	}
	return record, nil
}

// addEmpty gives an image without layers a directory to mount: overlayfs wants one.
func addEmpty(root string, record *Record) error {
	empty := filepath.Join(root, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	record.Layers = []string{empty}
	return nil
}
