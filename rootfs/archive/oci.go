package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/image"
)

// descriptor is a reference to a blob, as an index or a manifest has it.
type descriptor struct {
	MediaType   types.MediaType   `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
	Platform    *v1.Platform      `json:"platform"`
}

// document is an index or a manifest: which of the two must be clear.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	Manifests     []descriptor    `json:"manifests"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
}

// Bounds on indexes: real ones have a dozen platforms, and one index in another.
const (
	maxManifests  = 1000
	maxIndexDepth = 4
)

// readOCI reads an OCI layout: index.json, then blobs by digest.
func readOCI(source blobs, platform string) ([]*Image, error) {
	data, err := readJSON(source, "index.json")
	if err != nil {
		return nil, err
	}
	index, err := parseDocument("index.json", data)
	if err != nil {
		return nil, err
	}
	if len(index.Manifests) == 0 {
		return nil, fmt.Errorf("%w: index.json lists no image", ErrArchive)
	}
	var images []*Image
	for _, d := range index.Manifests {
		img, err := ociImage(source, d, platform, 0)
		if err != nil {
			return nil, err
		}
		images = append(images, &Image{Image: img, Names: ociNames(d.Annotations)})
	}
	return images, nil
}

// ociNames are the names in an index's annotations. Docker writes the first, and
// the second alone as a tag; podman and buildah write a whole name as the second.
func ociNames(annotations map[string]string) []string {
	if name := annotations["io.containerd.image.name"]; name != "" {
		return []string{name}
	}
	if name := annotations["org.opencontainers.image.ref.name"]; strings.ContainsAny(name, "/:") {
		return []string{name}
	}
	return nil
}

func parseDocument(name string, data []byte) (*document, error) {
	d := new(document)
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrArchive, name, err)
	}
	switch {
	case d.SchemaVersion != 2:
		return nil, fmt.Errorf("%w: %s: schema version %d", ErrArchive, name, d.SchemaVersion)
	case d.Manifests != nil && (d.Config != nil || d.Layers != nil):
		return nil, fmt.Errorf("%w: %s is an index and a manifest at once", ErrArchive, name)
	case len(d.Manifests) > maxManifests:
		return nil, fmt.Errorf("%w: %s lists %d manifests, the limit is %d", ErrArchive, name, len(d.Manifests), maxManifests)
	}
	return d, nil
}

// ociImage follows a descriptor to an image, through indexes to the platform.
func ociImage(source blobs, d descriptor, platform string, depth int) (v1.Image, error) {
	if depth > maxIndexDepth {
		return nil, fmt.Errorf("%w: indexes in indexes, more than %d deep", ErrArchive, maxIndexDepth)
	}
	data, err := readVerified(source, d)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(d.Digest, data)
	if err != nil {
		return nil, err
	}
	if doc.MediaType != "" && d.MediaType != "" && doc.MediaType != d.MediaType {
		return nil, fmt.Errorf("%w: %s is %s, the index says %s", ErrArchive, d.Digest, doc.MediaType, d.MediaType)
	}
	if doc.Manifests != nil {
		next, err := forPlatform(doc.Manifests, platform)
		if err != nil {
			return nil, err
		}
		return ociImage(source, *next, platform, depth+1)
	}
	if doc.Config == nil {
		return nil, fmt.Errorf("%w: %s is no image manifest", ErrArchive, d.Digest)
	}
	return ociManifest(source, data, doc)
}

func ociManifest(source blobs, raw []byte, doc *document) (v1.Image, error) {
	config, err := readVerified(source, *doc.Config)
	if err != nil {
		return nil, err
	}
	mediaType := doc.MediaType
	if mediaType == "" {
		mediaType = types.OCIManifestSchema1
	}
	c := &core{config: config, manifest: raw, mediaType: mediaType, layers: map[v1.Hash]partial.CompressedLayer{}}
	for _, d := range doc.Layers {
		name, err := blobPath(d.Digest)
		if err != nil {
			return nil, err
		}
		digest, err := v1.NewHash(d.Digest)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrArchive, err)
		}
		if !source.has(name) {
			return nil, fmt.Errorf("%w: layer %s is missing from it", ErrArchive, d.Digest)
		}
		c.layers[digest] = &fileLayer{source: source, name: name, digest: digest, size: d.Size, mediaType: d.MediaType}
	}
	return partial.CompressedToImage(c)
}

// forPlatform picks from an index: the platform asked for, or this machine's.
func forPlatform(manifests []descriptor, platform string) (*descriptor, error) {
	want := platform
	if want == "" {
		want = "linux/" + runtime.GOARCH
	}
	for i := range manifests {
		p := manifests[i].Platform
		if p == nil {
			continue
		}
		have := p.OS + "/" + p.Architecture
		if p.Variant != "" {
			have += "/" + p.Variant
		}
		if image.SamePlatform(want, have) {
			return &manifests[i], nil
		}
	}
	if len(manifests) == 1 && manifests[0].Platform == nil {
		return &manifests[0], nil
	}
	return nil, fmt.Errorf("%w: no image for platform %s in it", ErrArchive, want)
}

// blobPath is where a layout keeps a blob. The digest becomes part of a path, so
// it must be one (CVE-2024-3727).
func blobPath(digest string) (string, error) {
	if !image.IsDigest(digest) {
		return "", fmt.Errorf("%w: %.80q is no sha256 digest", ErrArchive, digest)
	}
	return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:"), nil
}

func readVerified(source blobs, d descriptor) ([]byte, error) {
	name, err := blobPath(d.Digest)
	if err != nil {
		return nil, err
	}
	data, err := readJSON(source, name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != d.Digest {
		return nil, fmt.Errorf("%w: %s has digest %s", ErrArchive, name, got)
	}
	return data, nil
}
