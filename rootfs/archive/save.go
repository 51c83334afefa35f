package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/reference"
)

// SaveImage is an image to save, under these names ("debian:latest").
type SaveImage struct {
	Image v1.Image
	Names []string
}

// Save writes images to w in the form of docker save since version 25: an OCI
// layout with docker's manifest.json, so that both kinds of readers take it.
// Layers are written as their Compressed() is: those of the store are the same
// bytes that were inside the compression they came in. Equal blobs are written once.
func Save(ctx context.Context, w io.Writer, images []SaveImage) error {
	s := &saver{ctx: ctx, archive: tar.NewWriter(w), written: map[string]bool{}, repositories: map[string]map[string]string{}}
	s.index = v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := s.archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch()}); err != nil {
			return err
		}
	}
	for _, image := range images {
		if err := s.image(image); err != nil {
			return err
		}
	}
	return s.finish()
}

type saver struct {
	ctx          context.Context
	archive      *tar.Writer
	written      map[string]bool
	index        v1.IndexManifest
	docker       []dockerManifest
	repositories map[string]map[string]string
}

func (s *saver) image(image SaveImage) error {
	manifest, err := image.Image.Manifest()
	if err != nil {
		return err
	}
	layers, err := image.Image.Layers()
	if err != nil {
		return err
	}
	entry := dockerManifest{Config: "blobs/sha256/" + manifest.Config.Digest.Hex, RepoTags: tags(image.Names), Layers: []string{}}
	for i, layer := range layers {
		if err := s.layer(layer, manifest.Layers[i]); err != nil {
			return err
		}
		entry.Layers = append(entry.Layers, "blobs/sha256/"+manifest.Layers[i].Digest.Hex)
	}
	config, err := image.Image.RawConfigFile()
	if err != nil {
		return err
	}
	raw, err := image.Image.RawManifest()
	if err != nil {
		return err
	}
	if _, err := s.blob(config); err != nil {
		return err
	}
	digest, err := s.blob(raw)
	if err != nil {
		return err
	}
	s.docker = append(s.docker, entry)
	s.list(image.Names, v1.Descriptor{MediaType: manifest.MediaType, Digest: digest, Size: int64(len(raw))}, manifest)
	return nil
}

func tags(names []string) []string {
	var list []string
	for _, name := range names {
		if ref, err := reference.Parse(name); err == nil && ref.Tag != "" {
			list = append(list, ref.Familiar())
		}
	}
	return list
}

// list puts the image into the index, once for each name.
func (s *saver) list(names []string, d v1.Descriptor, manifest *v1.Manifest) {
	if len(names) == 0 {
		s.index.Manifests = append(s.index.Manifests, d)
	}
	for _, name := range names {
		ref, err := reference.Parse(name)
		if err != nil {
			continue
		}
		d.Annotations = map[string]string{"io.containerd.image.name": ref.String()}
		if ref.Tag != "" {
			d.Annotations["org.opencontainers.image.ref.name"] = ref.Tag
		}
		s.index.Manifests = append(s.index.Manifests, d)
		if ref.Tag != "" && len(manifest.Layers) > 0 {
			if s.repositories[ref.FamiliarName()] == nil {
				s.repositories[ref.FamiliarName()] = map[string]string{}
			}
			s.repositories[ref.FamiliarName()][ref.Tag] = manifest.Layers[len(manifest.Layers)-1].Digest.Hex
		}
	}
}

// layer copies a layer, and notices one that is not what its digest says.
func (s *saver) layer(layer v1.Layer, d v1.Descriptor) error {
	name := "blobs/sha256/" + d.Digest.Hex
	if s.written[name] {
		return nil
	}
	s.written[name] = true
	reader, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("save layer %s: %w", d.Digest, err)
	}
	defer reader.Close()
	if err := s.header(name, d.Size); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(s.archive, sum), io.LimitReader(&cancelled{s.ctx, reader}, d.Size+1))
	if err != nil {
		return fmt.Errorf("save layer %s: %w", d.Digest, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != d.Size || got != d.Digest.Hex {
		return fmt.Errorf("save layer %s: it is sha256:%s of %d bytes", d.Digest, got, n)
	}
	return nil
}

func (s *saver) header(name string, size int64) error {
	return s.archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: epoch()})
}

func (s *saver) blob(data []byte) (v1.Hash, error) {
	sum := sha256.Sum256(data)
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	name := "blobs/sha256/" + digest.Hex
	if s.written[name] {
		return digest, nil
	}
	s.written[name] = true
	return digest, s.file(name, data)
}

func (s *saver) file(name string, data []byte) error {
	if err := s.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err := s.archive.Write(data)
	return err
}

// finish writes the files that say what is in the archive.
func (s *saver) finish() error {
	files := map[string]any{
		"index.json": s.index, "manifest.json": s.docker, "repositories": s.repositories,
		"oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"},
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data, err := json.Marshal(files[name])
		if err != nil {
			return err
		}
		if err := s.file(name, data); err != nil {
			return err
		}
	}
	return s.archive.Close()
}

// cancelled ends reading when ctx is done.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// epoch dates what has no date of its own: the same input makes the same bytes.
func epoch() time.Time { return time.Unix(0, 0).UTC() }
