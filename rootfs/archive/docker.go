package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/image"
	"bryo/rootfs/store/decompress"
)

// dockerManifest is an entry of manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// maxImages bounds the images of one archive.
const maxImages = 1000

// readDocker reads a docker archive: manifest.json names configurations and
// layers by their place in the archive.
func readDocker(source blobs) ([]*Image, error) {
	data, err := readJSON(source, "manifest.json")
	if err != nil {
		return nil, err
	}
	var manifests []dockerManifest
	if err := json.Unmarshal(data, &manifests); err != nil {
		return nil, fmt.Errorf("%w: manifest.json is no list of images", ErrArchive)
	}
	if len(manifests) == 0 || len(manifests) > maxImages {
		return nil, fmt.Errorf("%w: manifest.json has %d images", ErrArchive, len(manifests))
	}
	var images []*Image
	for _, m := range manifests {
		img, err := dockerImage(source, &m)
		if err != nil {
			return nil, err
		}
		images = append(images, &Image{Image: img, Names: m.RepoTags})
	}
	return images, nil
}

func dockerImage(source blobs, m *dockerManifest) (v1.Image, error) {
	config, err := readJSON(source, m.Config)
	if err != nil {
		return nil, err
	}
	parsed, err := image.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	if len(parsed.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%w: manifest.json has %d layers, the configuration %d", ErrArchive, len(m.Layers), len(parsed.DiffIDs))
	}
	built := newBuilt(config, types.DockerManifestSchema2, types.DockerConfigJSON)
	for i, name := range m.Layers {
		layer, err := dockerLayer(source, name, parsed.DiffIDs[i])
		if err != nil {
			return nil, err
		}
		built.add(layer)
	}
	return built.image()
}

// dockerLayer finds out a layer's digest. A plain archive's is its DiffID, and
// the store will see whether that is true; that of a compressed one is in its
// name, or must be summed up.
func dockerLayer(source blobs, name, diffID string) (*fileLayer, error) {
	b, err := source.open(name)
	if err != nil {
		return nil, err
	}
	defer b.reader.Close()
	head := make([]byte, 6)
	n, err := io.ReadFull(b.reader, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, err
	}
	layer := &fileLayer{source: source, name: name, size: b.size, mediaType: types.DockerUncompressedLayer}
	digest := diffID
	if decompress.Detect(head[:n]) != decompress.None {
		layer.mediaType = types.DockerLayer
		if digest = "sha256:" + path.Base(name); !strings.HasPrefix(name, "blobs/sha256/") || !image.IsDigest(digest) {
			if digest, err = sumOf(source, name); err != nil {
				return nil, err
			}
		}
	}
	layer.digest, err = v1.NewHash(digest)
	return layer, err
}

func sumOf(source blobs, name string) (string, error) {
	b, err := source.open(name)
	if err != nil {
		return "", err
	}
	defer b.reader.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, b.reader); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// built is an image put together from a configuration and layers, with a
// manifest made for it.
type built struct {
	config    []byte
	mediaType types.MediaType
	manifest  v1.Manifest
	layers    map[v1.Hash]partial.CompressedLayer
}

func newBuilt(config []byte, mediaType, configType types.MediaType) *built {
	sum := sha256.Sum256(config)
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	return &built{config: config, mediaType: mediaType, layers: map[v1.Hash]partial.CompressedLayer{}, manifest: v1.Manifest{
		SchemaVersion: 2, MediaType: mediaType, Layers: []v1.Descriptor{},
		Config: v1.Descriptor{MediaType: configType, Size: int64(len(config)), Digest: digest},
	}}
}

func (b *built) add(layer *fileLayer) {
	b.layers[layer.digest] = layer
	b.manifest.Layers = append(b.manifest.Layers, v1.Descriptor{MediaType: layer.mediaType, Size: layer.size, Digest: layer.digest})
}

func (b *built) image() (v1.Image, error) {
	raw, err := json.Marshal(b.manifest)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&core{config: b.config, manifest: raw, mediaType: b.mediaType, layers: b.layers})
}

// core has the four methods that partial makes an image of.
type core struct {
	config, manifest []byte
	mediaType        types.MediaType
	layers           map[v1.Hash]partial.CompressedLayer
}

func (c *core) RawConfigFile() ([]byte, error)      { return c.config, nil }
func (c *core) RawManifest() ([]byte, error)        { return c.manifest, nil }
func (c *core) MediaType() (types.MediaType, error) { return c.mediaType, nil }

func (c *core) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	if layer, found := c.layers[digest]; found {
		return layer, nil
	}
	return nil, fmt.Errorf("%w: no layer %s", ErrArchive, digest)
}

// fileLayer is a layer that is a file of an archive.
type fileLayer struct {
	source    blobs
	name      string
	digest    v1.Hash
	size      int64
	mediaType types.MediaType
}

func (l *fileLayer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *fileLayer) Size() (int64, error)                { return l.size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

func (l *fileLayer) Compressed() (io.ReadCloser, error) {
	b, err := l.source.open(l.name)
	if err != nil {
		return nil, err
	}
	return b.reader, nil
}
