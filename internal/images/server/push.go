package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/pgzip"

	"bryo/internal/linux"
	"bryo/rootfs/image"
	"bryo/rootfs/reference"
	"bryo/rootfs/registry"
)

// outgoing is an image in the form in which a registry gets it. A layer that the
// registry has, or takes from another of its repositories, stays in the form in
// which it was pulled; the others are compressed. If that leaves nothing to be
// compressed the manifest is the one that came, byte by byte.
type outgoing struct {
	config, manifest []byte
	kind             types.MediaType
	layers           map[string]*outgoingLayer
}

func (o *outgoing) RawConfigFile() ([]byte, error)      { return o.config, nil }
func (o *outgoing) RawManifest() ([]byte, error)        { return o.manifest, nil }
func (o *outgoing) MediaType() (types.MediaType, error) { return o.kind, nil }
func (o *outgoing) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if layer, found := o.layers[h.String()]; found {
		return layer, nil
	}
	return nil, fmt.Errorf("layer %s is not part of the image", h)
}

func (o *outgoing) close() {
	for _, layer := range o.layers {
		if layer.file != nil {
			layer.file.Close()
		}
	}
}

// outgoingLayer is one layer; without a file the registry has it.
type outgoingLayer struct {
	descriptor v1.Descriptor
	file       *os.File
}

func (l *outgoingLayer) Digest() (v1.Hash, error)            { return l.descriptor.Digest, nil }
func (l *outgoingLayer) Size() (int64, error)                { return l.descriptor.Size, nil }
func (l *outgoingLayer) MediaType() (types.MediaType, error) { return l.descriptor.MediaType, nil }
func (l *outgoingLayer) Compressed() (io.ReadCloser, error) {
	if l.file == nil {
		return nil, errors.New("the registry had the layer a moment ago, and has it no more")
	}
	return io.NopCloser(io.NewSectionReader(l.file, 0, l.descriptor.Size)), nil
}

// prepare makes the outgoing form of a stored image. The caller closes it after
// the push.
func (r *role) prepare(ctx context.Context, img v1.Image, found *image.Image, ref reference.Reference, o registry.Options) (*outgoing, error) {
	out := &outgoing{kind: types.OCIManifestSchema1, layers: map[string]*outgoingLayer{}}
	plain, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if out.config, err = img.RawConfigFile(); err != nil {
		return nil, err
	}
	known, err := r.pulledForms()
	if err != nil {
		return nil, err
	}
	there, err := offer(ctx, plain, known, ref, o)
	if err != nil {
		return nil, err
	}
	descriptors, whole, err := out.addLayers(ctx, plain, there, r.partialDir())
	if err == nil {
		err = out.write(found, descriptors, whole)
	}
	if err != nil {
		out.close()
		return nil, err
	}
	return out, nil
}

// pulledForms maps the DiffID of each layer that was pulled compressed to what its
// manifest said of it.
func (r *role) pulledForms() (map[string]v1.Descriptor, error) {
	list, err := image.List(r.request.Root)
	if err != nil {
		return nil, err
	}
	known := map[string]v1.Descriptor{}
	for i := range list {
		raw, err := list[i].RawManifest()
		if err != nil {
			continue
		}
		manifest, err := v1.ParseManifest(bytes.NewReader(raw))
		config, configErr := list[i].Config()
		if err != nil || configErr != nil || len(manifest.Layers) != len(config.DiffIDs) {
			continue
		}
		for n, d := range manifest.Layers {
			if d.Digest.String() != config.DiffIDs[n] && d.MediaType.IsDistributable() {
				known[config.DiffIDs[n]] = v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
			}
		}
	}
	return known, nil
}

// offer finds out which layers the registry has in the form they were pulled in.
func offer(ctx context.Context, plain []v1.Layer, known map[string]v1.Descriptor, ref reference.Reference, o registry.Options) (map[string]v1.Descriptor, error) {
	there := map[string]v1.Descriptor{}
	var asked []v1.Hash
	for _, layer := range plain {
		diffID, err := layer.Digest() // stored layers are not compressed
		if err != nil {
			return nil, err
		}
		if d, found := known[diffID.String()]; found {
			there[diffID.String()] = d
			asked = append(asked, d.Digest)
		}
	}
	if len(asked) == 0 {
		return there, nil
	}
	o.Progress = nil
	missing, err := registry.Offer(ctx, ref, asked, o)
	for diffID, d := range there {
		if missing[d.Digest] {
			delete(there, diffID)
		}
	}
	return there, err
}

// addLayers compresses what is not there; whole: nothing had to be.
func (o *outgoing) addLayers(ctx context.Context, plain []v1.Layer, there map[string]v1.Descriptor, dir string) (list []v1.Descriptor, whole bool, err error) {
	whole = true
	made := map[v1.Hash]v1.Descriptor{}
	for _, layer := range plain {
		diffID, err := layer.Digest()
		if err != nil {
			return nil, false, err
		}
		d, found := there[diffID.String()]
		if found {
			o.layers[d.Digest.String()] = &outgoingLayer{descriptor: d}
		} else if d, found = made[diffID]; !found {
			compressed, err := compress(ctx, layer, dir)
			if err != nil {
				return nil, false, fmt.Errorf("compress layer %.19s: %w", diffID, err)
			}
			d = compressed.descriptor
			o.layers[d.Digest.String()], made[diffID] = compressed, d
			whole = false
		}
		list = append(list, d)
	}
	return list, whole, nil
}

// compress writes a layer's gzip form into a file that has no name.
func compress(ctx context.Context, layer v1.Layer, dir string) (*outgoingLayer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	in, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	stop := context.AfterFunc(ctx, func() { in.Close() })
	defer stop()
	file, err := linux.Nameless(dir)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	packed := pgzip.NewWriter(io.MultiWriter(file, sum))
	if _, err = io.Copy(packed, in); err == nil {
		err = packed.Close()
	}
	size, sizeErr := file.Seek(0, io.SeekEnd)
	if err = errors.Join(err, sizeErr, ctx.Err()); err != nil {
		file.Close()
		return nil, err
	}
	d := v1.Descriptor{MediaType: types.OCILayer, Size: size, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}}
	return &outgoingLayer{descriptor: d, file: file}, nil
}

// write makes the manifest, or takes the one that came.
func (o *outgoing) write(found *image.Image, layers []v1.Descriptor, whole bool) error {
	if raw, err := found.RawManifest(); err == nil && whole {
		came, err := v1.ParseManifest(bytes.NewReader(raw))
		if err == nil && sameLayers(came.Layers, layers) {
			o.manifest = raw
			if came.MediaType != "" {
				o.kind = came.MediaType
			}
			return nil
		}
	}
	for i := range layers {
		layers[i].MediaType = ociType(layers[i].MediaType)
	}
	config := v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(o.config)), Digest: v1.Hash{Algorithm: "sha256", Hex: found.ID}}
	var err error
	o.manifest, err = json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: o.kind, Config: config, Layers: layers})
	return err
}

func sameLayers(a, b []v1.Descriptor) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Digest != b[i].Digest {
			return false
		}
	}
	return true
}

// ociType: docker's layers are OCI's under another name.
func ociType(t types.MediaType) types.MediaType {
	switch t {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	}
	return t
}

// neighbours are the repositories of the same registry that have had this image,
// or others with layers of it. Package registry asks for the first few only.
func (r *role) neighbours(ref reference.Reference, found *image.Image) []string {
	list, err := image.List(r.request.Root)
	if err != nil {
		return nil
	}
	seen := map[string]bool{ref.Path: true}
	var paths []string
	add := func(names []string) {
		for _, name := range names {
			other, err := reference.ParseName(name)
			if err == nil && other.Domain == ref.Domain && !seen[other.Path] {
				seen[other.Path] = true
				paths = append(paths, other.Path)
			}
		}
	}
	add(found.Note.Digests)
	add(found.Names)
	for i := range list {
		if list[i].ID != found.ID && shareLayers(&list[i], found) {
			add(list[i].Note.Digests)
		}
	}
	return paths
}

func shareLayers(a, b *image.Image) bool {
	ours, err := a.Config()
	if err != nil {
		return false
	}
	theirs, err := b.Config()
	return err == nil && slices.ContainsFunc(ours.DiffIDs, func(id string) bool { return slices.Contains(theirs.DiffIDs, id) })
}
