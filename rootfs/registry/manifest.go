package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/reference"
	"bryo/rootfs/registry/conf"
)

const (
	maxManifest     = 4 << 20 // the distribution spec's limit
	maxConfig       = 4 << 20
	maxIndexEntries = 1000 // docker.io's largest official indexes have about 40
	maxIndexDepth   = 3
	maxLayers       = 1024 // the kernel's overlay stops at 500
)

// Manifest is a manifest or index as the registry has it.
type Manifest struct {
	MediaType types.MediaType
	Digest    v1.Hash
	Raw       []byte
}

// IsIndex reports that it lists manifests for several platforms.
func (m Manifest) IsIndex() bool { return m.MediaType.IsIndex() }

// accepted is what we ask for. Schema 1 is not in it, but an old registry may
// answer with it all the same.
var accepted = []types.MediaType{types.OCIImageIndex, types.DockerManifestList, types.OCIManifestSchema1, types.DockerManifestSchema2}

// GetManifest fetches the manifest or index that ref names, checked, from the
// first endpoint that has it.
func GetManifest(ctx context.Context, ref reference.Reference, o Options) (m Manifest, err error) {
	o, ref = o.withDefaults(), tagged(ref)
	err = o.onAny(ctx, ref, func(s *session) error {
		m, err = s.manifest(ctx, s.ep.Ref.Identifier(), "")
		return err
	})
	return m, err
}

// Head asks for type, digest and size of a manifest without its content. The
// registry's word is all there is: pull by the digest to be sure.
func Head(ctx context.Context, ref reference.Reference, o Options) (d v1.Descriptor, err error) {
	o, ref = o.withDefaults(), tagged(ref)
	err = o.onAny(ctx, ref, func(s *session) error {
		d, err = s.headManifest(ctx)
		return err
	})
	return d, err
}

func (s *session) headManifest(ctx context.Context) (v1.Descriptor, error) {
	id := s.ep.Ref.Identifier()
	resp, err := s.do(ctx, request{op: "get digest of", what: s.name(id), method: http.MethodHead, url: s.url("manifests/" + id),
		header: acceptHeader(), ok: []int{http.StatusOK}})
	if err != nil {
		return v1.Descriptor{}, err
	}
	resp.Body.Close()
	h, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if err != nil {
		m, err := s.manifest(ctx, id, "") // a registry that does not say: count ourselves
		return v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))}, err
	}
	return v1.Descriptor{MediaType: contentType(resp.Header), Digest: h, Size: resp.ContentLength}, nil
}

func acceptHeader() http.Header {
	h := http.Header{}
	for _, t := range accepted {
		h.Add("Accept", string(t))
	}
	return h
}

// name is "debian:13" or "...@sha256:..." for errors.
func (s *session) name(id string) string {
	if strings.Contains(id, ":") {
		return s.ep.Ref.FamiliarName() + "@" + id
	}
	return s.ep.Ref.FamiliarName() + ":" + id
}

// manifest fetches by tag or digest. want is the media type that an index
// promised; empty: any that we accept. With a digest the bytes must have it;
// with a tag their own digest is what the rest of the pull is pinned to, so
// that a tag which moves meanwhile changes nothing.
func (s *session) manifest(ctx context.Context, id string, want types.MediaType) (Manifest, error) {
	q := request{op: opManifest, what: s.name(id), method: http.MethodGet, url: s.url("manifests/" + id),
		header: acceptHeader(), ok: []int{http.StatusOK}}
	data, header, err := s.fetch(ctx, q, maxManifest)
	if err != nil {
		return Manifest{}, err
	}
	m, err := checkManifest(data, contentType(header), want)
	if err == nil && strings.Contains(id, ":") {
		m.Digest, err = checkDigest(data, id)
	}
	return m, s.fail(q.op, q.what, err)
}

func contentType(h http.Header) types.MediaType {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return types.MediaType(strings.TrimSpace(t))
}

// checkDigest compares data with the digest it was asked for by.
func checkDigest(data []byte, id string) (v1.Hash, error) {
	want, err := v1.NewHash(id)
	if err != nil {
		return want, err
	}
	hasher, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return want, err
	}
	hasher.Write(data)
	if got := fmt.Sprintf("%x", hasher.Sum(nil)); got != want.Hex {
		return want, fmt.Errorf("content has digest %s:%s: %w", want.Algorithm, got, ErrVerify)
	}
	return want, nil
}

// shape is what both kinds of manifest may hold; the pointers tell which keys
// are there at all.
type shape struct {
	SchemaVersion int64            `json:"schemaVersion"`
	MediaType     types.MediaType  `json:"mediaType"`
	Config        *json.RawMessage `json:"config"`
	Layers        *json.RawMessage `json:"layers"`
	FSLayers      *json.RawMessage `json:"fsLayers"`
	Manifests     *json.RawMessage `json:"manifests"`
}

// checkManifest decides what data is and refuses what two readers could take
// for two things (CVE-2021-41190): keys twice, a manifest that is also an
// index, a media type in the text that contradicts the header.
func checkManifest(data []byte, header, want types.MediaType) (Manifest, error) {
	var m Manifest
	switch {
	case header.IsSchema1():
		return m, errSchema1
	case header != "" && !slices.Contains(accepted, header):
		return m, fmt.Errorf("media type %q: %w", clean(string(header), 100), ErrUnsupported)
	}
	if err := conf.CheckJSON(data); err != nil {
		return m, fmt.Errorf("%w: %w", err, ErrVerify)
	}
	var s shape
	if err := json.Unmarshal(data, &s); err != nil {
		return m, fmt.Errorf("%w: %w", err, ErrVerify)
	}
	if err := checkKeys(data); err != nil {
		return m, err
	}
	switch {
	case s.SchemaVersion == 1 || s.FSLayers != nil || s.MediaType.IsSchema1():
		return m, errSchema1
	case s.SchemaVersion != 2:
		return m, fmt.Errorf("schemaVersion %d: %w", s.SchemaVersion, ErrUnsupported)
	case s.Manifests != nil && (s.Config != nil || s.Layers != nil):
		return m, fmt.Errorf("both a manifest and an index: %w", ErrVerify)
	}
	kind := header
	if kind == "" {
		kind = s.MediaType
	}
	switch {
	case !slices.Contains(accepted, kind):
		return m, fmt.Errorf("media type %q: %w", clean(string(kind), 100), ErrUnsupported)
	case s.MediaType != "" && s.MediaType != kind, s.MediaType == "" && (kind == types.DockerManifestSchema2 || kind == types.DockerManifestList):
		return m, fmt.Errorf("media type is %q in the header and %q in the content: %w", kind, clean(string(s.MediaType), 100), ErrVerify)
	case want != "" && kind != want:
		return m, fmt.Errorf("media type is %q, its index says %q: %w", kind, clean(string(want), 100), ErrVerify)
	case kind.IsIndex() != (s.Manifests != nil), kind.IsImage() && s.Config == nil:
		return m, fmt.Errorf("content does not fit its media type %q: %w", kind, ErrVerify)
	}
	digest, _, err := v1.SHA256(strings.NewReader(string(data)))
	return Manifest{MediaType: kind, Digest: digest, Raw: data}, err
}

var errSchema1 = fmt.Errorf("schema 1 image, a format that docker gave up in 2019 (push it again with a newer docker): %w", ErrUnsupported)

// checkKeys refuses keys that differ only in letter case from those we read:
// encoding/json would take "Layers" for "layers", other readers would not.
func checkKeys(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("%w: %w", err, ErrVerify)
	}
	return walkKeys(v)
}

func walkKeys(v any) error {
	known := []string{"schemaVersion", "mediaType", "config", "layers", "fsLayers", "manifests", "digest", "size", "urls",
		"platform", "os", "architecture", "variant", "annotations"}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := walkKeys(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, e := range v {
			i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
			if i >= 0 && key != known[i] {
				return fmt.Errorf("key %q instead of %q: %w", clean(key, 40), known[i], ErrVerify)
			}
			if key == "annotations" {
				continue // free text of the image's author
			}
			if err := walkKeys(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// resolve follows an index to the image for a platform. Each step asks by
// digest, so no index can contain itself; depth and entries are bounded all
// the same.
func (s *session) resolve(ctx context.Context, m Manifest, want v1.Platform) (Manifest, *v1.Manifest, error) {
	for depth := 0; m.IsIndex(); depth++ {
		if depth == maxIndexDepth {
			return m, nil, s.fail("read index", s.name(m.Digest.String()), fmt.Errorf("more than %d indexes inside each other: %w", maxIndexDepth, ErrVerify))
		}
		child, err := pick(m, want)
		if err != nil {
			return m, nil, s.fail("choose platform of", s.ep.Ref.String(), err)
		}
		if m, err = s.manifest(ctx, child.Digest.String(), child.MediaType); err != nil {
			return m, nil, err
		}
		if child.Size != int64(len(m.Raw)) {
			return m, nil, s.fail(opManifest, s.name(child.Digest.String()), sizeError(int64(len(m.Raw)), child.Size))
		}
	}
	image, err := parseImage(m.Raw)
	return m, image, s.fail("read manifest", s.name(m.Digest.String()), err)
}

// pick chooses one entry of an index.
func pick(m Manifest, want v1.Platform) (v1.Descriptor, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(m.Raw, &index); err != nil {
		return v1.Descriptor{}, fmt.Errorf("%w: %w", err, ErrVerify)
	}
	if len(index.Manifests) > maxIndexEntries {
		return v1.Descriptor{}, fmt.Errorf("index has %d entries, the limit is %d: %w", len(index.Manifests), maxIndexEntries, ErrVerify)
	}
	fit := choose(index.Manifests, want)
	for _, d := range fit {
		if d.MediaType.IsImage() || d.MediaType.IsIndex() {
			return d, nil
		}
	}
	if len(fit) > 0 {
		return v1.Descriptor{}, fmt.Errorf("media type %q in the index: %w", clean(string(fit[0].MediaType), 100), ErrUnsupported)
	}
	return v1.Descriptor{}, platformError(want, "the image has "+offered(index.Manifests))
}

func platformError(want v1.Platform, have string) error {
	return fmt.Errorf("%w for %s: %s", ErrPlatform, want.String(), have)
}

// parseImage checks the descriptors of an image manifest.
func parseImage(data []byte) (*v1.Manifest, error) {
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrVerify)
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, fmt.Errorf("not a container image, its config is %q: %w", clean(string(m.Config.MediaType), 100), ErrUnsupported)
	}
	if m.Config.Size < 0 || m.Config.Size > maxConfig {
		return nil, fmt.Errorf("config of %d bytes, the limit is %d: %w", m.Config.Size, maxConfig, ErrVerify)
	}
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("%d layers, the limit is %d: %w", len(m.Layers), maxLayers, ErrVerify)
	}
	for _, l := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := reference.ValidDigest(l.Digest.String()); err != nil {
			return nil, fmt.Errorf("digest %q: %w: %w", clean(l.Digest.String(), 80), err, ErrVerify)
		}
		if l.Size < 0 {
			return nil, fmt.Errorf("blob %s has size %d: %w", l.Digest, l.Size, ErrVerify)
		}
	}
	for _, l := range m.Layers {
		if !isLayer(l.MediaType) {
			return nil, fmt.Errorf("layer %s has media type %q: %w", l.Digest, clean(string(l.MediaType), 100), ErrUnsupported)
		}
	}
	return &m, nil
}

// isLayer: tar, plain or compressed with gzip or zstd. docker's zstd type was
// never registered but occurs.
func isLayer(t types.MediaType) bool {
	return t.IsLayer() || t == "application/vnd.docker.image.rootfs.diff.tar.zstd" ||
		t == "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
}
