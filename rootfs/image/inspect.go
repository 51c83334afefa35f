package image

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
	"time"
)

// Inspect is an image in the JSON form of `docker image inspect`.
type Inspect struct {
	ID            string      `json:"Id"` // sha256:...
	RepoTags      []string    `json:"RepoTags"`
	RepoDigests   []string    `json:"RepoDigests"`
	Parent        string      `json:"Parent"`
	Comment       string      `json:"Comment"`
	Created       string      `json:"Created"` // RFC 3339
	DockerVersion string      `json:"DockerVersion"`
	Author        string      `json:"Author"`
	Config        Run         `json:"Config"`
	Architecture  string      `json:"Architecture"`
	Variant       string      `json:"Variant,omitempty"`
	Os            string      `json:"Os"`
	OsVersion     string      `json:"OsVersion,omitempty"`
	Size          int64       `json:"Size"`
	VirtualSize   int64       `json:"VirtualSize,omitempty"` // older versions of docker: templates ask for it
	GraphDriver   GraphDriver `json:"GraphDriver"`
	RootFS        RootFS      `json:"RootFS"`
	Metadata      Metadata    `json:"Metadata"`
}

// GraphDriver tells where the layers are.
type GraphDriver struct {
	Data map[string]string `json:"Data"`
	Name string            `json:"Name"`
}

// RootFS lists the layers' DiffIDs, bottom first.
type RootFS struct {
	Type   string   `json:"Type"`
	Layers []string `json:"Layers,omitempty"`
}

// Metadata is what belongs to this store's copy of the image.
type Metadata struct {
	LastTagTime time.Time `json:"LastTagTime"`
}

// InspectImage gathers docker's inspect data of the image that ref names.
func InspectImage(root, ref, platform string) (*Inspect, error) {
	found, layers, err := open(root, ref, platform)
	if err != nil {
		return nil, err
	}
	blob, err := found.RawConfig()
	if err != nil {
		return nil, err
	}
	config, err := ParseConfig(blob)
	if err != nil {
		return nil, err
	}
	chain, err := found.Chain(layers)
	if err != nil {
		return nil, err
	}
	inspect := &Inspect{
		ID: "sha256:" + found.ID, RepoTags: found.RepoTags(), RepoDigests: found.RepoDigests(), Comment: found.Note.Comment,
		Created: config.Created.Format(time.RFC3339Nano), Author: config.Author, Config: config.Run,
		Architecture: config.Architecture, Variant: config.Variant, Os: config.OS, OsVersion: config.OSVersion,
		Size: found.size(chain), RootFS: RootFS{Type: "layers", Layers: config.DiffIDs},
		GraphDriver: graphDriver(root, chain), Metadata: Metadata{LastTagTime: found.Note.Tagged},
	}
	if inspect.Comment == "" && len(config.History) > 0 {
		inspect.Comment = config.History[len(config.History)-1].Comment
	}
	return inspect, nil
}

func open(root, ref, platform string) (*Image, map[string]Layer, error) {
	images, err := List(root)
	if err != nil {
		return nil, nil, err
	}
	found, err := Find(images, ref, platform)
	if err != nil {
		return nil, nil, err
	}
	layers, err := Layers(root)
	return found, layers, err
}

func (i *Image) size(chain []Layer) int64 {
	if i.Note.Size > 0 {
		return i.Note.Size
	}
	var size int64
	for _, layer := range chain {
		size += layer.Size
	}
	return size
}

func graphDriver(root string, chain []Layer) GraphDriver {
	data := map[string]string{}
	var lower []string
	for i, layer := range chain {
		dir := filepath.Join(root, "storage", "overlay", layer.ID)
		if i == 0 {
			data["UpperDir"], data["WorkDir"], data["MergedDir"] = filepath.Join(dir, "diff"), filepath.Join(dir, "work"), filepath.Join(dir, "merged")
			continue
		}
		lower = append(lower, filepath.Join(dir, "diff"))
	}
	if len(lower) > 0 {
		data["LowerDir"] = strings.Join(lower, ":")
	}
	return GraphDriver{Data: data, Name: "overlay"}
}

// HistoryEntry is a line of `history`, in the JSON form of docker's API.
type HistoryEntry struct {
	ID        string   `json:"Id"` // sha256:..., or <missing> for all but the newest
	Created   int64    `json:"Created"`
	CreatedBy string   `json:"CreatedBy"`
	Tags      []string `json:"Tags"`
	Size      int64    `json:"Size"`
	Comment   string   `json:"Comment"`
}

// HistoryOf lists how the image was made, newest step first.
func HistoryOf(root, ref, platform string) ([]HistoryEntry, error) {
	found, layers, err := open(root, ref, platform)
	if err != nil {
		return nil, err
	}
	config, err := found.Config()
	if err != nil {
		return nil, err
	}
	chain, err := found.Chain(layers)
	if err != nil {
		return nil, err
	}
	var entries []HistoryEntry
	below := len(chain) // chain is topmost first
	for _, step := range withLayers(config, len(chain)) {
		entry := HistoryEntry{ID: "<missing>", Created: step.Created.Unix(), CreatedBy: step.CreatedBy, Comment: step.Comment}
		if !step.EmptyLayer && below > 0 {
			below--
			entry.Size = chain[below].Size
		}
		entries = append([]HistoryEntry{entry}, entries...)
	}
	if len(entries) > 0 {
		entries[0].ID, entries[0].Tags = "sha256:"+found.ID, found.RepoTags()
	}
	return entries, nil
}

// withLayers is the configuration's history, and a step for each layer that it
// does not speak of.
func withLayers(config *Config, layers int) []History {
	steps := config.History
	for _, step := range steps {
		if !step.EmptyLayer {
			layers--
		}
	}
	for range layers {
		steps = append(steps, History{Created: config.Created})
	}
	return steps
}

// ChainIDs names each layer with all below it, bottom first, as the OCI image
// specification does ("Layer ChainID").
func ChainIDs(diffIDs []string) []string {
	chain := make([]string, len(diffIDs))
	for i, id := range diffIDs {
		if i == 0 {
			chain[i] = id
			continue
		}
		sum := sha256.Sum256([]byte(chain[i-1] + " " + id))
		chain[i] = "sha256:" + hex.EncodeToString(sum[:])
	}
	return chain
}
