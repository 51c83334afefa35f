package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"go.podman.io/storage"

	"bryo/rootfs/image"
	"bryo/rootfs/store/unpack"
)

// Options are for Open.
type Options struct {
	// SingleUID is set when the user namespace maps only one id: all files of
	// layers then belong to it.
	SingleUID bool
	// NoOverlay is set when the kernel mounts no overlay in user namespaces
	// (before 5.11, or a root on overlay itself). Layers then keep deletions as
	// the archive has them, for Flatten.
	NoOverlay bool
	// Parallel is how many layers are fetched and unpacked at once; 0 for 3.
	Parallel int
	// Removing is set to remove images: the space that the store holds for it is
	// free until Close.
	Removing bool
	Limits   unpack.Limits
	// Fetched says how far any process is with a blob ("sha256:…"): a layer's lock is
	// not waited for when its holder does not get on. nil: nobody knows.
	Fetched func(blob string) int64
	// InUse names the containers that use an image; nil for none. It is called
	// with images.lock held exclusively.
	InUse func(imageID string) []User
}

// Store is an open image store. Its methods may be called from several
// goroutines, and from several processes on one root.
type Store struct {
	root    string
	options Options
	storage storage.Store
	locks   *locks
	reserve func()         // takes the space for removing back; nil when it is held
	unpack  unpack.Options // owners and whiteouts; the rest is filled in for each layer
}

// Open opens the store under the data root, making it where there is none, and
// mends what a killed writer left. The process must be uid 0 of a user namespace.
func Open(root string, options Options) (*Store, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	if options.Fetched == nil {
		options.Fetched = func(string) int64 { return 0 }
	}
	isolate()
	locks, err := openLocks(root)
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, options: options, locks: locks}
	if options.Removing {
		if s.reserve, err = s.releaseReserve(); err != nil {
			return nil, err
		}
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.heal()
	if s.reserve == nil {
		s.holdReserve()
	}
	return s, nil
}

// open opens the storage library's store.
func (s *Store) open() error {
	if err := s.owners(); err != nil {
		return err
	}
	runRoot, err := runRoot(s.root)
	if err != nil {
		return err
	}
	if err := removeTornLinks(s.root); err != nil {
		return err
	}
	s.storage, err = storage.GetStore(storage.StoreOptions{
		RunRoot: runRoot, GraphRoot: filepath.Join(s.root, "storage"), GraphDriverName: "overlay", GraphDriverOptions: driverOptions(s.options),
	})
	if err != nil {
		return fmt.Errorf("open image store %s: %w", s.root, err)
	}
	return nil
}

// Close releases the store's descriptors. Nothing needs it for its data.
func (s *Store) Close() error {
	if s.reserve != nil {
		s.reserve()
	}
	return s.locks.close()
}

// Root is the data root.
func (s *Store) Root() string { return s.root }

// isolate keeps the storage library from the host's configuration: this store
// is bryo's own, and another engine's broken storage.conf, or environment, must
// not change or stop it. Its log is silenced: what matters comes as an error.
func isolate() {
	os.Setenv("CONTAINERS_STORAGE_CONF", "/dev/null")
	for _, name := range []string{"STORAGE_DRIVER", "STORAGE_OPTS", "_CONTAINERS_ROOTLESS_UID", "_CONTAINERS_ROOTLESS_GID", "_CONTAINERS_USERNS_CONFIGURED"} {
		os.Unsetenv(name)
	}
	if os.Getenv("BRYO_DEBUG") == "" {
		logrus.SetOutput(io.Discard)
	}
}

func driverOptions(options Options) []string {
	list := []string{
		// The library would mark its home directory as a private mount: the image
		// role has its own mount namespace and mounts nothing.
		"overlay.skip_mount_home=true",
		// With "filesystem" the library would sync all of it twice for each layer,
		// half-fetched blobs too. Ours is one sync for each image: see mark.
		"overlay.sync=none",
	}
	if options.NoOverlay {
		// Only with a mount program does the driver open where overlay cannot be
		// mounted. It is never run: nothing is mounted through the library.
		list = append(list, "overlay.mount_program=/proc/self/exe")
	}
	if options.SingleUID {
		list = append(list, "overlay.ignore_chown_errors=true")
	}
	return list
}

// owners finds out which ids the layers' files can have.
func (s *Store) owners() error {
	s.unpack.SingleUID = s.options.SingleUID
	s.unpack.Limits = s.options.Limits
	if s.options.NoOverlay {
		s.unpack.Whiteouts = unpack.Files
	}
	var err error
	s.unpack.UIDs, s.unpack.GIDs, err = unpack.OwnIDs()
	return err
}

// runRoot is the library's directory for what does not outlive a boot: mount
// counts and what the kernel was found to support. Those of earlier boots go.
func runRoot(root string) (string, error) {
	boot := bootID()
	base := filepath.Join(root, "storage-run")
	if err := os.MkdirAll(filepath.Join(base, boot), 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if entry.Name() != boot {
			os.RemoveAll(filepath.Join(base, entry.Name()))
		}
	}
	return filepath.Join(base, boot), presetFeatures(filepath.Join(base, boot, "overlay"))
}

// presetFeatures answers beforehand what the storage library finds out by test
// mounts when it is opened, or adds a layer, first after a boot. It mounts nothing
// for bryo, so the answers only need to let it go on: a killed test leaves
// directories behind, and all of them together take longer than anything else here.
func presetFeatures(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"overlay-true", "metacopy()-false", "native-diff()-true", "idmapped-lower-dir-false", "dataonly-layers-false", "volatile-false"} {
		file, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		file.Close()
	}
	return nil
}

// mutate runs change under the lock that guards names and records, and leaves
// the records in step with the store. change removes and writes the records
// that it makes wrong.
func (s *Store) mutate(change func() error) error {
	unlock, err := image.Lock(s.root)
	if err != nil {
		return err
	}
	defer unlock()
	if !image.InStep(s.root) {
		if err := image.Clear(s.root); err != nil {
			return err
		}
	}
	if err := change(); err != nil {
		if !image.InStep(s.root) {
			// Whatever was done, no record is trusted until someone asks.
			err = errors.Join(err, image.Clear(s.root))
		}
		return err
	}
	return image.SetStamp(s.root)
}

// find is image.Find on the store's present images.
func (s *Store) find(ref, platform string) (*image.Image, error) {
	images, err := image.List(s.root)
	if err != nil {
		return nil, err
	}
	return image.Find(images, ref, platform)
}

// Resolve finds the image that ref names and writes its record. It needs
// nothing of this process: image.Resolve does the same anywhere.
func (s *Store) Resolve(ref, platform string) (*image.Record, error) {
	return image.Resolve(s.root, ref, platform)
}

// setNote replaces the note of an image.
func (s *Store) setNote(id string, note image.Note) error {
	note.Own = true
	metadata, err := s.storage.Metadata(id)
	if err != nil {
		return err
	}
	if metadata, err = note.Merge(metadata); err != nil {
		return err
	}
	return s.storage.SetMetadata(id, metadata)
}
