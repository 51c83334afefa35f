package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	digest "github.com/opencontainers/go-digest"

	"bryo/rootfs/image"
	"bryo/rootfs/store/unpack"
)

// ErrNotReplayable says that a layer's archive cannot be given again byte by byte.
var ErrNotReplayable = errors.New("the layer's archive cannot be made again")

// Diff reads the archive of a layer as it came, uncompressed.
func (s *Store) Diff(layer string) (io.ReadCloser, error) {
	return replay(notesPath(image.Graph(s.root), "overlay", layer), s.layerDir(layer), layer)
}

// notesPath is where a store of this format keeps what replaying a layer needs.
func notesPath(graph, driver, layer string) string {
	return filepath.Join(graph, driver+"-layers", layer+".tar-split.gz")
}

// replay makes a layer's archive from its directory and its notes.
func replay(notesPath, dir, layer string) (io.ReadCloser, error) {
	notes, err := os.Open(notesPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("layer %.12s: %w", layer, ErrNotReplayable)
	}
	if err != nil {
		return nil, err
	}
	plain, err := gzip.NewReader(notes)
	if err != nil {
		notes.Close()
		return nil, fmt.Errorf("layer %.12s: notes: %w", layer, err)
	}
	reader, writer := io.Pipe()
	go func() {
		err := unpack.Replay(plain, dir, writer)
		notes.Close()
		if err != nil {
			err = fmt.Errorf("layer %.12s: %w", layer, err)
		}
		writer.CloseWithError(err)
	}()
	return reader, nil
}

func (s *Store) layerDir(layer string) string {
	return filepath.Join(image.Graph(s.root), "overlay", layer, "diff")
}

// sameContents opens the archive of a layer with this DiffID that the store has
// under another parent; nil if there is none.
func (s *Store) sameContents(diffID string) io.ReadCloser {
	layers, err := s.storage.LayersByUncompressedDigest(digest.Digest(diffID))
	if err != nil {
		return nil // none, in the library's words
	}
	for _, layer := range layers {
		if stream, err := s.Diff(layer.ID); err == nil {
			return stream
		}
	}
	return nil
}
