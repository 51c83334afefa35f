package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bryo/internal/images"
	"bryo/internal/linux"
	"bryo/rootfs/image"
	"bryo/rootfs/reference"
)

// ManifestList is a list that is being put together on this machine: manifests of
// several platforms under one name. It lies in one file of the data root.
type ManifestList struct {
	Name    string          `json:"name"` // normalized
	Entries []ManifestEntry `json:"entries"`
}

// ManifestEntry is one image of it.
type ManifestEntry struct {
	Reference  string     `json:"reference"` // normalized
	Descriptor Descriptor `json:"descriptor"`
}

// Descriptor is docker's and OCI's.
type Descriptor struct {
	MediaType string          `json:"mediaType"`
	Size      int             `json:"size"`
	Digest    string          `json:"digest"`
	Platform  images.Platform `json:"platform"`
}

// ErrNoList: there is no local list of that name.
var ErrNoList = errors.New("no such manifest")

func (e *Engine) listPath(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(e.Root, "manifests", hex.EncodeToString(sum[:])+".json")
}

// ManifestList reads a local list.
func (e *Engine) ManifestList(name string) (*ManifestList, error) {
	name, err := image.Normalize(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(e.listPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoList, name)
	}
	if err != nil {
		return nil, err
	}
	list := new(ManifestList)
	if err := json.Unmarshal(data, list); err != nil {
		return nil, fmt.Errorf("manifest list %s: %w", name, err)
	}
	return list, nil
}

func (e *Engine) saveList(list *ManifestList) error {
	if err := e.ready(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(e.Root, "manifests"), 0o700); err != nil {
		return err
	}
	return linux.WriteWhole(e.listPath(list.Name), func(f *os.File) error { return json.NewEncoder(f).Encode(list) })
}

// CreateManifestList makes a list of images that a registry has.
func (e *Engine) CreateManifestList(name string, references []string, amend, insecure bool) (*ManifestList, error) {
	list, err := e.ManifestList(name)
	switch {
	case errors.Is(err, ErrNoList):
		full, err := image.Normalize(name)
		if err != nil {
			return nil, err
		}
		list = &ManifestList{Name: full}
	case err != nil:
		return nil, err
	case !amend:
		return nil, errors.New("refusing to amend an existing manifest list with no --amend flag")
	}
	for _, ref := range references {
		m, err := e.RemoteManifest(images.ManifestArgs{Reference: ref, Insecure: insecure, Config: true})
		if err != nil {
			return nil, err
		}
		if m.List {
			return nil, fmt.Errorf("%s is a manifest list", ref)
		}
		list.set(ManifestEntry{Reference: m.Reference, Descriptor: Descriptor{
			MediaType: m.MediaType, Size: len(m.Raw), Digest: m.Digest, Platform: m.Platform,
		}})
	}
	return list, e.saveList(list)
}

// set adds an entry or replaces the one of the same name.
func (l *ManifestList) set(entry ManifestEntry) {
	for i := range l.Entries {
		if l.Entries[i].Reference == entry.Reference {
			l.Entries[i] = entry
			return
		}
	}
	l.Entries = append(l.Entries, entry)
}

// RemoteManifest fetches what a name stands for in its registry.
func (e *Engine) RemoteManifest(args images.ManifestArgs) (*images.Manifest, error) {
	var m images.Manifest
	err := e.call(images.OpManifest, args, &m)
	if images.IsKind(err, images.KindAbsent) {
		return nil, fmt.Errorf("no such manifest: %s", args.Reference)
	}
	return &m, err
}

// AnnotateManifest changes what a list says of one of its images.
func (e *Engine) AnnotateManifest(name, reference string, change func(*images.Platform)) error {
	list, err := e.ManifestList(name)
	if err != nil {
		return err
	}
	full, err := image.Normalize(reference)
	if err != nil {
		return err
	}
	for i := range list.Entries {
		if list.Entries[i].Reference == full {
			change(&list.Entries[i].Descriptor.Platform)
			return e.saveList(list)
		}
	}
	return fmt.Errorf("manifest for image %s does not exist in %s", reference, name)
}

// Document is the list as registries keep it: an index of OCI when all its images
// are OCI's, else docker's.
func (l *ManifestList) Document() (mediaType string, document any) {
	mediaType = "application/vnd.oci.image.index.v1+json"
	descriptors := []Descriptor{}
	for _, entry := range l.Entries {
		if !strings.HasPrefix(entry.Descriptor.MediaType, "application/vnd.oci.") {
			mediaType = "application/vnd.docker.distribution.manifest.list.v2+json"
		}
		descriptors = append(descriptors, entry.Descriptor)
	}
	return mediaType, struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []Descriptor `json:"manifests"`
	}{2, mediaType, descriptors}
}

// PushManifestList stores the list in its registry and returns its digest.
func (e *Engine) PushManifestList(name string, insecure, purge bool) (string, error) {
	list, err := e.ManifestList(name)
	if err != nil {
		return "", err
	}
	kind, document := list.Document()
	raw, err := json.MarshalIndent(document, "", "   ")
	if err != nil {
		return "", err
	}
	push := images.ManifestPushArgs{Reference: list.Name, MediaType: kind, Raw: raw, Insecure: insecure}
	for _, entry := range list.Entries {
		if entry.Descriptor.Platform.OS == "" || entry.Descriptor.Platform.Architecture == "" {
			return "", fmt.Errorf("manifest %s must have an OS and Architecture to be pushed to a registry", entry.Reference)
		}
		source, err := reference.Parse(entry.Reference)
		if err != nil {
			return "", fmt.Errorf("manifest list %s: %w", list.Name, err)
		}
		push.Sources = append(push.Sources, source.Name()+"@"+entry.Descriptor.Digest)
	}
	var result images.ManifestPushResult
	if err := e.call(images.OpManifestPush, push, &result); err != nil {
		return "", err
	}
	if purge {
		err = e.RemoveManifestList(name)
	}
	return result.Digest, err
}

// RemoveManifestList deletes a local list.
func (e *Engine) RemoveManifestList(name string) error {
	list, err := e.ManifestList(name)
	if err != nil {
		return err
	}
	return os.Remove(e.listPath(list.Name))
}

// Search asks a registry for repositories.
func (e *Engine) Search(args images.SearchArgs) ([]images.Found, error) {
	var result images.SearchResult
	err := e.call(images.OpSearch, args, &result)
	return result.Found, err
}
