package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bryo/rootfs/image"
)

// ErrInvalid is wrapped by the errors of an image that contradicts itself:
// wrong digests, sizes or counts, or a manifest that is none.
var ErrInvalid = errors.New("invalid image")

// maxLayers is overlayfs's own limit of layers in one mount (OVL_MAX_STACK).
const maxLayers = 500

// plan is what a manifest and a configuration, both checked, say of an image.
type plan struct {
	id       string // 64 hex: digest of config
	digest   string // of manifest
	manifest []byte
	config   []byte
	parsed   *image.Config
	layers   []planLayer // bottom first
}

type planLayer struct {
	source  v1.Layer      // nil for a foreign one
	foreign *foreignLayer // of another store on this machine
	digest  string        // as fetched: sha256:...
	size    int64         // as fetched; -1 if not known
	diffID  string        // of the plain archive: sha256:...
	id      string        // in the store
}

// newPlan reads the image's manifest and configuration and holds them against
// each other. Nothing else is believed of them later.
func newPlan(img v1.Image) (*plan, error) {
	p := new(plan)
	var err error
	if p.manifest, err = img.RawManifest(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	descriptors, err := p.readManifest()
	if err != nil {
		return nil, err
	}
	if p.config, err = img.RawConfigFile(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := p.readConfig(descriptors.Config); err != nil {
		return nil, err
	}
	return p, p.addLayers(img, descriptors.Layers)
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        descriptor      `json:"config"`
	Layers        []descriptor    `json:"layers"`
	Manifests     json.RawMessage `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

// readManifest refuses what could be read in two ways: a document that is a
// manifest to one reader and an index to another (CVE-2021-41190).
func (p *plan) readManifest() (*manifest, error) {
	if len(p.manifest) > image.MaxJSON {
		return nil, fmt.Errorf("%w: manifest of %d bytes, the limit is %d", ErrInvalid, len(p.manifest), image.MaxJSON)
	}
	m := new(manifest)
	if err := json.Unmarshal(p.manifest, m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %v", ErrInvalid, err)
	}
	switch {
	case m.SchemaVersion != 2:
		return nil, fmt.Errorf("%w: manifest of schema version %d", ErrInvalid, m.SchemaVersion)
	case m.Manifests != nil || m.FSLayers != nil:
		return nil, fmt.Errorf("%w: manifest that is also an index", ErrInvalid)
	case m.MediaType != "" && !isManifestType(m.MediaType):
		return nil, fmt.Errorf("%w: %q is no manifest", ErrInvalid, m.MediaType)
	case !isConfigType(m.Config.MediaType):
		return nil, fmt.Errorf("%w: not a container image: its configuration is %q", ErrInvalid, m.Config.MediaType)
	case len(m.Layers) > maxLayers:
		return nil, fmt.Errorf("%w: %d layers, overlayfs takes %d at most", ErrInvalid, len(m.Layers), maxLayers)
	}
	p.digest = digestOf(p.manifest)
	return m, nil
}

func isManifestType(mediaType string) bool {
	return mediaType == "application/vnd.docker.distribution.manifest.v2+json" || mediaType == "application/vnd.oci.image.manifest.v1+json"
}

// isConfigType: other types are charts, signatures and the like.
func isConfigType(mediaType string) bool {
	switch mediaType {
	case "", "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json":
		return true
	}
	return false
}

func (p *plan) readConfig(want descriptor) error {
	if digest := digestOf(p.config); digest != want.Digest {
		return fmt.Errorf("%w: configuration is %s, the manifest says %.80s", ErrInvalid, digest, want.Digest)
	}
	parsed, err := image.ParseConfig(p.config)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	p.parsed, p.id = parsed, strings.TrimPrefix(want.Digest, "sha256:")
	return nil
}

func (p *plan) addLayers(img v1.Image, descriptors []descriptor) error {
	sources, err := img.Layers()
	if err != nil {
		return fmt.Errorf("layers: %w", err)
	}
	if len(descriptors) != len(p.parsed.DiffIDs) || len(sources) != len(descriptors) {
		return fmt.Errorf("%w: the manifest has %d layers, the configuration %d", ErrInvalid, len(descriptors), len(p.parsed.DiffIDs))
	}
	parent := ""
	for i, d := range descriptors {
		if !image.IsDigest(d.Digest) || d.Size < 0 {
			return fmt.Errorf("%w: layer %d: digest %.80q of %d bytes", ErrInvalid, i, d.Digest, d.Size)
		}
		if got, err := sources[i].Digest(); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		} else if got.String() != d.Digest {
			return fmt.Errorf("%w: layer %d is %s, the manifest says %s", ErrInvalid, i, got, d.Digest)
		}
		diffID := p.parsed.DiffIDs[i]
		parent = layerID(parent, diffID)
		p.layers = append(p.layers, planLayer{source: sources[i], digest: d.Digest, size: d.Size, diffID: diffID, id: parent})
	}
	return nil
}

// layerID names a layer by all that is below it and its own contents, as other
// tools of this storage format do: a base that two images share is stored once.
func layerID(parent, diffID string) string {
	hash := strings.TrimPrefix(diffID, "sha256:")
	if parent == "" {
		return hash
	}
	sum := sha256.Sum256([]byte(parent + "+" + hash))
	return hex.EncodeToString(sum[:])
}

func digestOf(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// indexHas tells whether index, an index's bytes, lists the manifest.
func indexHas(index []byte, digest string) bool {
	return len(index) <= image.MaxJSON && bytes.Contains(index, []byte(digest))
}
