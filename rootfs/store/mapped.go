package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bryo/rootfs/image"
	"bryo/rootfs/store/tree"
)

// IDRange maps count ids: Container is what the image means, Store what is on
// disk, both as the image role's user namespace sees them.
type IDRange struct{ Container, Store, Count uint32 }

// Mapped gives the image's layers, topmost first, with every owner shifted by the
// maps: for containers in which the user keeps his own id. The copies are made
// once, lie beside the layers and go with them.
func (s *Store) Mapped(ctx context.Context, record *image.Record, uids, gids []IDRange) ([]string, error) {
	text, err := json.Marshal([][]IDRange{uids, gids})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	key := hex.EncodeToString(sum[:8])
	owner := func(uid, gid uint32) (uint32, uint32, error) { return shiftBoth(uids, gids, uid, gid) }
	var mapped []string
	for _, layer := range record.Layers {
		dir, err := s.mappedLayer(ctx, layer, key, owner)
		if err != nil {
			return nil, fmt.Errorf("shift owners of image %.12s: %w", record.ID, err)
		}
		mapped = append(mapped, dir)
	}
	return mapped, nil
}

func shiftBoth(uids, gids []IDRange, uid, gid uint32) (uint32, uint32, error) {
	newUID, ok := shift(uids, uid)
	if !ok {
		return 0, 0, fmt.Errorf("owner uid %d has no place in the container's map", uid)
	}
	newGID, ok := shift(gids, gid)
	if !ok {
		return 0, 0, fmt.Errorf("owner gid %d has no place in the container's map", gid)
	}
	return newUID, newGID, nil
}

func shift(ranges []IDRange, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.Container && id-r.Container < r.Count {
			return r.Store + (id - r.Container), true
		}
	}
	return 0, false
}

// mappedLayer makes one copy, or finds it. A copy gets its name when it is
// complete and on disk.
func (s *Store) mappedLayer(ctx context.Context, layer, key string, owner func(uint32, uint32) (uint32, uint32, error)) (string, error) {
	id := filepath.Base(filepath.Dir(layer))
	dir := filepath.Join(s.mappedDir(), id+"-"+key)
	unlock, err := s.locks.take(ctx, layerByte("mapped "+id+key), true)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(s.mappedDir(), 0o700); err != nil {
		return "", err
	}
	partial := dir + partialSuffix
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", err
	}
	if err := tree.Copy(ctx, layer, partial, tree.Options{Owner: owner}); err != nil {
		return "", errors.Join(err, os.RemoveAll(partial))
	}
	if err := syncFileSystem(partial); err != nil {
		return "", err
	}
	return dir, os.Rename(partial, dir)
}

const partialSuffix = ".partial"

func (s *Store) mappedDir() string { return filepath.Join(s.root, "mapped") }

// removeMapped removes the copies of layers that are gone. Called with
// images.lock held exclusively: no container is being made of them.
func (s *Store) removeMapped() error {
	entries, err := os.ReadDir(s.mappedDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	layers, err := image.Layers(s.root)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		id, _, _ := strings.Cut(entry.Name(), "-")
		if _, found := layers[id]; !found {
			errs = append(errs, os.RemoveAll(filepath.Join(s.mappedDir(), entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// Flatten writes the image's whole tree into the existing, empty directory dest:
// a container's own root where no overlay can be mounted. Contents are shared by
// reflink where the file system can, else copied; never by hard link, as the
// container writes there.
func (s *Store) Flatten(ctx context.Context, record *image.Record, dest string) error {
	for _, layer := range slices.Backward(record.Layers) {
		if err := tree.Copy(ctx, layer, dest, tree.Options{Merge: true}); err != nil {
			return fmt.Errorf("flatten image %.12s: %w", record.ID, err)
		}
	}
	return nil
}
