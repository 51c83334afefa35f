package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/rootfs/image"
	"bryo/rootfs/patience"
	"bryo/rootfs/reference"
)

// Removed is a line of rmi's output: one of the two is set.
type Removed struct {
	Untagged string `json:",omitempty"` // a name as docker shows it
	Deleted  string `json:",omitempty"` // sha256:... of an image or a layer
}

func (r Removed) String() string {
	if r.Untagged != "" {
		return "Untagged: " + r.Untagged
	}
	return "Deleted: " + r.Deleted
}

// RemoveOptions are for Remove.
type RemoveOptions struct {
	// Force removes all names of an image given by ID, and takes the name from an
	// image that a container uses: its layers stay while the container does.
	Force    bool
	Platform string
}

// ConflictError says why an image stays.
type ConflictError struct{ Message string }

func (e *ConflictError) Error() string { return "conflict: " + e.Message }

// Remove is docker's rmi. Given a name it removes the name, and the image with
// its last one; given an ID it removes the image if all names are of one
// repository, else Force must be set. An image that a container uses stays:
// the error is a *ConflictError. An unknown one is an *image.NotFoundError.
func (s *Store) Remove(ref string, options RemoveOptions) (removed []Removed, err error) {
	unlock, err := s.lockImages()
	if err != nil {
		return nil, err
	}
	defer unlock()
	err = s.mutate(func() error {
		found, err := s.find(ref, options.Platform)
		if err != nil {
			return err
		}
		r := &removal{store: s, image: *found, users: s.users(found.ID), force: options.Force}
		if name, ok := r.nameOf(ref); ok {
			err = r.byName(ref, name)
		} else {
			err = r.byID()
		}
		removed = r.lines
		return err
	})
	if err == nil {
		err = s.removeMapped()
	}
	return removed, err
}

// lockImages keeps new containers from starting on an image while it is removed.
func (s *Store) lockImages() (unlock func(), err error) { return s.flockImages(0) }

func (s *Store) tryLockImages() (unlock func(), err error) { return s.flockImages(unix.LOCK_NB) }

func (s *Store) flockImages(how int) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(s.root, "images.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	release := linux.HoldStops()
	if err = flockSoon(int(file.Fd()), how); err != nil {
		file.Close()
		release()
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return func() { file.Close(); release() }, nil
}

// startTime is how long starts of containers are waited for, and who begins another one
// meanwhile. A command that was stopped in the middle of one would be waited for without end.
const startTime = 30 * time.Second

func flockSoon(fd, how int) error {
	locked := make(chan error, 1)
	go func() {
		for {
			if err := unix.Flock(fd, unix.LOCK_EX|how); err != unix.EINTR {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		return err
	case <-time.After(startTime):
		return fmt.Errorf("a container is being started: %w", patience.ErrStuck)
	}
}

// User is a container that is made of an image.
type User struct {
	ID      string
	Running bool
}

func (u User) String() string {
	if u.Running {
		return fmt.Sprintf("running container %.12s", u.ID)
	}
	return fmt.Sprintf("stopped container %.12s", u.ID)
}

func (s *Store) users(id string) []User {
	if s.options.InUse == nil {
		return nil
	}
	return s.options.InUse(id)
}

// removal is one image on its way out.
type removal struct {
	store *Store
	image image.Image
	users []User
	force bool
	lines []Removed
}

// nameOf tells whether ref is a name of the image rather than its ID.
func (r *removal) nameOf(ref string) (string, bool) {
	if strings.HasPrefix(r.image.ID, strings.TrimPrefix(ref, "sha256:")) {
		return "", false
	}
	name, err := image.Normalize(ref)
	return name, err == nil
}

// names are all that lead to the image: tags and digests.
func (r *removal) names() []string {
	names := slices.Clone(r.image.Names)
	for _, name := range r.image.Digests() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// byName removes one name; the image goes if it was the last.
func (r *removal) byName(ref, name string) error {
	if !r.force && len(r.users) > 0 && singleReference(r.names()) {
		return &ConflictError{fmt.Sprintf("unable to remove repository reference %q (must force) - container %.12s is using its referenced image %.12s", ref, r.users[0].ID, r.image.ID)}
	}
	return r.asWhole(func() error {
		if err := r.untag(name); err != nil {
			return err
		}
		if len(r.names()) > 0 || len(r.users) > 0 {
			return nil
		}
		return r.delete()
	})
}

// asWhole removes names and image: if it is killed between the two, the next command
// goes on.
func (r *removal) asWhole(remove func() error) error {
	r.store.markImage(r.image.ID)
	err := remove()
	if err == nil {
		r.store.imageDone(r.image.ID)
	}
	return err
}

func (r *removal) byID() error {
	if err := r.conflict(); err != nil {
		return err
	}
	return r.asWhole(func() error {
		for len(r.names()) > 0 {
			if err := r.untag(r.names()[0]); err != nil {
				return err
			}
		}
		if len(r.users) > 0 {
			return nil
		}
		return r.delete()
	})
}

// conflict is what keeps an image from going by its ID. A stopped container keeps its
// layers when the names go by force; one without names has only them.
func (r *removal) conflict() error {
	names := r.names()
	if i := slices.IndexFunc(r.users, func(u User) bool { return u.Running }); i >= 0 {
		return r.cannot("cannot be forced", r.users[i])
	}
	if !r.force && !singleReference(names) {
		return &ConflictError{fmt.Sprintf("unable to delete %.12s (must be forced) - image is referenced in multiple repositories", r.image.ID)}
	}
	switch {
	case len(r.users) == 0:
	case len(names) == 0:
		return r.cannot("cannot be forced", r.users[0])
	case !r.force:
		return r.cannot("must be forced", r.users[0])
	}
	return nil
}

func (r *removal) cannot(cure string, by User) error {
	return &ConflictError{fmt.Sprintf("unable to delete %.12s (%s) - image is being used by %s", r.image.ID, cure, by)}
}

// singleReference tells whether the names are at most one tag, and digests of
// the same repository.
func singleReference(names []string) bool {
	tags, repositories := 0, map[string]bool{}
	for _, name := range names {
		ref, err := reference.Parse(name)
		if err != nil {
			return false
		}
		if ref.Digest == "" {
			tags++
		}
		repositories[ref.Name()] = true
	}
	return tags <= 1 && len(repositories) <= 1
}

// untag takes the name from the image, and with the last tag of a repository
// the repository's digests.
func (r *removal) untag(name string) error {
	gone := []string{name}
	if ref, err := reference.Parse(name); err == nil && ref.Digest == "" && !r.otherTag(ref, name) {
		for _, digest := range r.image.Digests() {
			if other, err := reference.Parse(digest); err == nil && other.Name() == ref.Name() {
				gone = append(gone, digest)
			}
		}
	}
	for _, name := range gone {
		r.lines = append(r.lines, Removed{Untagged: familiar(name)})
	}
	return r.drop(gone)
}

func (r *removal) otherTag(ref reference.Reference, name string) bool {
	return slices.ContainsFunc(r.image.Names, func(other string) bool {
		parsed, err := reference.Parse(other)
		return err == nil && other != name && parsed.Digest == "" && parsed.Name() == ref.Name()
	})
}

func familiar(name string) string {
	if ref, err := reference.Parse(name); err == nil {
		return ref.Familiar()
	}
	return name
}

// drop removes names from the store, the notes and the records.
func (r *removal) drop(gone []string) error {
	held := func(name string) bool { return slices.Contains(gone, name) }
	images, err := image.List(r.store.root)
	if err != nil {
		return err
	}
	for _, other := range images {
		note := other.Note
		note.PlatformNames = slices.DeleteFunc(slices.Clone(note.PlatformNames), held)
		if other.ID == r.image.ID {
			note.Digests = slices.DeleteFunc(other.Digests(), held)
			r.image.Note = note
		}
		if len(note.PlatformNames) != len(other.Note.PlatformNames) || len(note.Digests) != len(other.Note.Digests) {
			if err := r.store.setNote(other.ID, note); err != nil {
				return err
			}
		}
	}
	if err := r.store.storage.RemoveNames(r.image.ID, gone); err != nil {
		return fmt.Errorf("untag image %.12s: %w", r.image.ID, err)
	}
	r.image.Names = slices.DeleteFunc(r.image.Names, held)
	return image.RemoveNames(r.store.root, gone...)
}

// delete removes the image and the layers that no other image has.
func (r *removal) delete() error {
	lines, err := r.store.deleteImage(&r.image)
	r.lines = append(r.lines, lines...)
	return err
}

func (s *Store) deleteImage(gone *image.Image) ([]Removed, error) {
	config, err := gone.Config()
	if err != nil {
		config = &image.Config{} // damaged: it goes all the same
	}
	if err := image.RemoveID(s.root, gone.ID); err != nil {
		return nil, err
	}
	// The library deletes the entry first: who is killed then leaves the layers.
	done := s.markLayers()
	layers, err := s.storage.DeleteImage(gone.ID, true)
	if err != nil {
		return nil, fmt.Errorf("delete image %.12s: %w", gone.ID, err)
	}
	done()
	lines := []Removed{{Deleted: "sha256:" + gone.ID}}
	chain := image.ChainIDs(config.DiffIDs)
	for i := range layers { // topmost first
		if at := len(chain) - 1 - i; at >= 0 {
			lines = append(lines, Removed{Deleted: chain[at]})
		}
	}
	return lines, nil
}

// RemoveOrphans removes layers that belong to no image: those of imports that
// were interrupted. It does nothing while an import runs. Returns their bytes.
func (s *Store) RemoveOrphans(ctx context.Context) (int64, error) {
	unlock, err := s.locks.try(lockImports, true)
	if unlock == nil || err != nil {
		return 0, err
	}
	defer unlock()
	return s.removeOrphans(ctx)
}

// removeOrphans is called with lockImports held exclusively.
func (s *Store) removeOrphans(ctx context.Context) (int64, error) {
	var freed int64
	for ctx.Err() == nil {
		orphans, err := s.orphans()
		if err != nil || len(orphans) == 0 {
			return freed, err
		}
		for _, layer := range orphans {
			if err := s.storage.DeleteLayer(layer.ID); err != nil {
				return freed, fmt.Errorf("delete layer %.12s: %w", layer.ID, err)
			}
			freed += layer.Size
		}
	}
	return freed, ctx.Err()
}

// orphans are the layers without child and image: the topmost of what is left over.
func (s *Store) orphans() ([]image.Layer, error) {
	layers, err := image.Layers(s.root)
	if err != nil {
		return nil, err
	}
	stored, err := s.storage.Images()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, i := range stored {
		used[i.TopLayer] = true
		for _, mapped := range i.MappedTopLayers {
			used[mapped] = true
		}
	}
	for _, layer := range layers {
		used[layer.Parent] = true
	}
	var orphans []image.Layer
	for _, layer := range layers {
		if !used[layer.ID] {
			orphans = append(orphans, layer)
		}
	}
	return orphans, nil
}
