package store

import (
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/image"
)

// Image gives an image of the store in the form that save and push take: the
// same configuration, so the same ID, and the layers' archives byte by byte as
// they were inside their compression. The manifest is a new one, for layers
// that are not compressed; the one that came is image.Image.RawManifest.
func (s *Store) Image(ref, platform string) (v1.Image, *image.Image, error) {
	found, err := s.find(ref, platform)
	if err != nil {
		return nil, nil, err
	}
	stored, err := s.newStoredImage(found)
	if err != nil {
		return nil, nil, fmt.Errorf("image %.12s: %w", found.ID, err)
	}
	img, err := partial.CompressedToImage(stored)
	return img, found, err
}

// storedImage has the four methods from which partial makes a v1.Image.
type storedImage struct {
	config, manifest []byte
	layers           map[string]*storedLayer // by DiffID
}

func (s *Store) newStoredImage(found *image.Image) (*storedImage, error) {
	config, err := found.RawConfig()
	if err != nil {
		return nil, err
	}
	known, err := image.Layers(s.root)
	if err != nil {
		return nil, err
	}
	chain, err := found.Chain(known)
	if err != nil {
		return nil, err
	}
	stored := &storedImage{config: config, layers: map[string]*storedLayer{}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	m.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(config)), Digest: v1.Hash{Algorithm: "sha256", Hex: found.ID}}
	for i := len(chain) - 1; i >= 0; i-- {
		layer := &storedLayer{store: s, layer: chain[i]}
		digest, err := layer.Digest()
		if err != nil {
			return nil, err
		}
		stored.layers[chain[i].DiffID] = layer
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: chain[i].Size, Digest: digest})
	}
	stored.manifest, err = json.Marshal(m)
	return stored, err
}

func (i *storedImage) RawConfigFile() ([]byte, error)      { return i.config, nil }
func (i *storedImage) RawManifest() ([]byte, error)        { return i.manifest, nil }
func (i *storedImage) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (i *storedImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if layer, found := i.layers[h.String()]; found {
		return layer, nil
	}
	return nil, fmt.Errorf("layer %s is not part of the image", h)
}

// storedLayer is a layer's archive, made again from its directory when read.
type storedLayer struct {
	store *Store
	layer image.Layer
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return v1.NewHash(l.layer.DiffID) }
func (l *storedLayer) Size() (int64, error)                { return l.layer.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error)  { return l.store.Diff(l.layer.ID) }
