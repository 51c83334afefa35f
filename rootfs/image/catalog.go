package image

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bryo/rootfs/reference"
)

// Image is one image as the store's own files have it. Reading needs neither the
// storage library nor a namespace: the files belong to the user, and writers
// replace them whole.
type Image struct {
	ID       string
	Names    []string // normalized: docker.io/library/debian:latest; none for a dangling image
	Digest   string   // of the manifest
	TopLayer string   // empty for an image without layers
	Stored   time.Time
	Note     Note

	dir     string            // DATA-ROOT/storage/overlay-images
	bigData map[string]string // names of the files kept with it, and their digests
}

// Note is what bryo keeps with an image beside what the storage format has. It
// lives in the image's free "metadata" field, under the key "bryo".
type Note struct {
	// Own says that bryo has written this note: an empty list then means none.
	Own bool `json:"own,omitempty"`
	// Digests are the names by digest under which the image was pulled:
	// docker.io/library/debian@sha256:..., of its manifest and of the index it was in.
	Digests []string `json:"digests,omitempty"`
	// PlatformNames are names that point to the image when its platform is asked
	// for, though another platform may have the name now.
	PlatformNames []string `json:"platform-names,omitempty"`
	// Size is what the image's layers hold, unpacked, in bytes.
	Size int64 `json:"size,omitempty"`
	// Tagged is when a name last came to the image.
	Tagged time.Time `json:"tagged,omitzero"`
	// Comment is the message of an import.
	Comment string `json:"comment,omitempty"`
}

// wireImage is an entry of images.json, as far as bryo reads it.
type wireImage struct {
	ID       string            `json:"id"`
	Digest   string            `json:"digest"`
	Names    []string          `json:"names"`
	Layer    string            `json:"layer"`
	Metadata string            `json:"metadata"`
	BigData  map[string]string `json:"big-data-digests"`
	Created  time.Time         `json:"created"`
}

// List reads the images of the data root, in the order of the store. Images that
// an interrupted writer left incomplete are not among them.
func List(root string) ([]Image, error) { return ListGraph(Graph(root), "overlay") }

// Graph is the store's own directory in a data root.
func Graph(root string) string { return filepath.Join(root, "storage") }

// ListGraph is List for any store of this format, podman's for instance, and its
// driver: "overlay" or "vfs".
func ListGraph(graph, driver string) ([]Image, error) {
	blob, err := os.ReadFile(filepath.Join(graph, driver+"-images", "images.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var wires []wireImage
	if err := json.Unmarshal(blob, &wires); err != nil {
		return nil, fmt.Errorf("read images.json: %w", err)
	}
	images := make([]Image, 0, len(wires))
	for _, wire := range wires {
		if image, ok := fromWire(filepath.Join(graph, driver+"-images"), &wire); ok {
			images = append(images, image)
		}
	}
	return images, nil
}

func fromWire(dir string, wire *wireImage) (Image, bool) {
	if len(wire.ID) != 64 || !isHex(wire.ID) || wire.BigData["sha256:"+wire.ID] == "" {
		return Image{}, false
	}
	image := Image{
		ID: wire.ID, Names: wire.Names, Digest: wire.BigData["manifest"], TopLayer: wire.Layer, Stored: wire.Created,
		Note: ParseNote(wire.Metadata), dir: dir, bigData: wire.BigData,
	}
	if image.Digest == "" {
		image.Digest = wire.Digest
	}
	return image, true
}

// ParseNote reads the note in an image's metadata; another engine's is empty.
func ParseNote(metadata string) Note {
	var holder struct {
		Bryo Note `json:"bryo"`
	}
	if json.Unmarshal([]byte(metadata), &holder) != nil {
		return Note{}
	}
	return holder.Bryo
}

// Merge returns metadata with the note in it, keeping what others wrote there.
func (n Note) Merge(metadata string) (string, error) {
	holder := map[string]json.RawMessage{}
	if metadata != "" && json.Unmarshal([]byte(metadata), &holder) != nil {
		holder = map[string]json.RawMessage{}
	}
	blob, err := json.Marshal(n)
	if err != nil {
		return "", err
	}
	holder["bryo"] = blob
	blob, err = json.Marshal(holder)
	return string(blob), err
}

// Dangling tells whether the image has no name of its own left.
func (i *Image) Dangling() bool { return len(i.Names) == 0 }

// RepoTags are the names with a tag, as docker shows them: "debian:latest".
func (i *Image) RepoTags() []string {
	tags := []string{}
	for _, name := range i.Names {
		if ref, err := reference.Parse(name); err == nil && ref.Digest == "" {
			tags = append(tags, ref.Familiar())
		}
	}
	return tags
}

// Digests are all names by digest of the image, normalized. For an image of
// another engine they are made from its names and its manifest.
func (i *Image) Digests() []string {
	digests := slices.Clone(i.Note.Digests)
	for _, name := range i.Names {
		ref, err := reference.Parse(name)
		if err != nil {
			continue
		}
		if ref.Digest == "" && !i.Note.Own && i.Digest != "" {
			ref, err = ref.WithDigest(i.Digest)
		}
		if text := ref.String(); err == nil && ref.Digest != "" && !slices.Contains(digests, text) {
			digests = append(digests, text)
		}
	}
	return digests
}

// RepoDigests are Digests as docker shows them: "debian@sha256:...".
func (i *Image) RepoDigests() []string {
	shown := []string{}
	for _, name := range i.Digests() {
		if ref, err := reference.Parse(name); err == nil {
			shown = append(shown, ref.Familiar())
		}
	}
	return shown
}

// Config reads the image's configuration, checked against its ID by the store
// when it came in.
func (i *Image) Config() (*Config, error) {
	blob, err := i.RawConfig()
	if err != nil {
		return nil, err
	}
	return ParseConfig(blob)
}

// RawConfig is the configuration blob, whose sha256 is the image's ID.
func (i *Image) RawConfig() ([]byte, error) { return i.Blob("sha256:" + i.ID) }

// RawManifest is the manifest as it came from the registry or archive.
func (i *Image) RawManifest() ([]byte, error) { return i.Blob("manifest") }

// Blob reads a file kept with the image: "manifest", "manifest-sha256:..." for
// the index, "sha256:..." for the configuration.
func (i *Image) Blob(key string) ([]byte, error) {
	return os.ReadFile(filepath.Join(i.dir, i.ID, blobName(key)))
}

// blobName is how the storage format names the file of a key.
func blobName(key string) string {
	for _, c := range key {
		if c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "=" + base64.StdEncoding.EncodeToString([]byte(key))
		}
	}
	return key
}

// Layer is one layer of the store.
type Layer struct {
	ID     string
	Parent string
	DiffID string // sha256:...
	Size   int64  // of the layer's archive, uncompressed
}

type wireLayer struct {
	ID     string         `json:"id"`
	Parent string         `json:"parent"`
	DiffID string         `json:"diff-digest"`
	Size   int64          `json:"diff-size"`
	Flags  map[string]any `json:"flags"`
}

// Layers reads the complete layers of the data root, by ID.
func Layers(root string) (map[string]Layer, error) { return LayersGraph(Graph(root), "overlay") }

// LayersGraph is Layers for any store of this format.
func LayersGraph(graph, driver string) (map[string]Layer, error) {
	blob, err := os.ReadFile(filepath.Join(graph, driver+"-layers", "layers.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Layer{}, nil
	}
	if err != nil {
		return nil, err
	}
	var wires []wireLayer
	if err := json.Unmarshal(blob, &wires); err != nil {
		return nil, fmt.Errorf("read layers.json: %w", err)
	}
	layers := make(map[string]Layer, len(wires))
	for _, wire := range wires {
		if wire.Flags["incomplete"] == true || strings.ContainsAny(wire.ID, "/.") {
			continue
		}
		layers[wire.ID] = Layer{ID: wire.ID, Parent: wire.Parent, DiffID: wire.DiffID, Size: wire.Size}
	}
	return layers, nil
}

// Chain is the image's layers, topmost first.
func (i *Image) Chain(layers map[string]Layer) ([]Layer, error) {
	var chain []Layer
	for id := i.TopLayer; id != ""; {
		layer, found := layers[id]
		if !found {
			return nil, fmt.Errorf("image %.12s: layer %.12s is missing from the store", i.ID, id)
		}
		if len(chain) > len(layers) {
			return nil, fmt.Errorf("image %.12s: its layers form a ring", i.ID)
		}
		chain = append(chain, layer)
		id = layer.Parent
	}
	return chain, nil
}
