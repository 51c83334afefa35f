package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/storage"
)

// Doubt is a layer that Verify cannot vouch for.
type Doubt struct {
	ID      string
	Altered string   // in words, what differs; empty: its archive cannot be made again
	Images  []string // that use it
}

// Verify makes the archive of each layer again, from the files as they are now,
// and compares its digest with the one that was pulled: it sees every changed
// byte, mode, owner and name. It reads the whole store.
func (s *Store) Verify(ctx context.Context) (doubts []Doubt, err error) {
	layers, err := s.storage.Layers()
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	for i := range layers {
		if ctx.Err() != nil {
			return doubts, ctx.Err()
		}
		layer := &layers[i]
		altered, err := s.altered(layer)
		if errors.Is(err, ErrNotReplayable) {
			doubts = append(doubts, Doubt{ID: layer.ID})
			continue
		}
		if altered != "" {
			doubts = append(doubts, Doubt{layer.ID, altered, s.imagesWith(layer.ID)})
		}
	}
	return doubts, nil
}

func (s *Store) altered(layer *storage.Layer) (what string, err error) {
	if layer.UncompressedDigest == "" {
		return "", ErrNotReplayable
	}
	stream, err := s.Diff(layer.ID)
	if err != nil {
		return err.Error(), err
	}
	defer stream.Close()
	sum := digest.Canonical.Digester()
	if _, err := io.Copy(sum.Hash(), stream); err != nil {
		return err.Error(), nil // a file is gone, or has another size
	}
	if got := sum.Digest(); got != layer.UncompressedDigest {
		return fmt.Sprintf("its files have digest %s, not %s", got, layer.UncompressedDigest), nil
	}
	return "", nil
}

// imagesWith names the images whose layers include one.
func (s *Store) imagesWith(layer string) (names []string) {
	images, err := s.storage.Images()
	if err != nil {
		return nil
	}
	for _, img := range images {
		for at := img.TopLayer; at != ""; {
			if at == layer {
				names = append(names, append(img.Names, img.ID[:12])[0])
				break
			}
			l, err := s.storage.Layer(at)
			if err != nil {
				break
			}
			at = l.Parent
		}
	}
	return names
}
