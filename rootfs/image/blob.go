package image

import (
	"encoding/json"
	"time"
)

// NewBlob writes a configuration as a blob of an image: the reverse of
// ParseConfig. Fields that Config does not know are lost.
func NewBlob(config *Config) ([]byte, error) {
	blob := newConfig{
		Architecture: config.Architecture, OS: config.OS, OSVersion: config.OSVersion, Variant: config.Variant,
		Author: config.Author, Created: config.Created, History: config.History,
		Config: config.Run,
	}
	blob.RootFS.Type, blob.RootFS.DiffIDs = "layers", config.DiffIDs
	return json.Marshal(&blob)
}

type newConfig struct {
	Created      time.Time `json:"created"`
	Author       string    `json:"author,omitempty"`
	Architecture string    `json:"architecture"`
	Variant      string    `json:"variant,omitempty"`
	OS           string    `json:"os"`
	OSVersion    string    `json:"os.version,omitempty"`
	Config       Run       `json:"config"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []History `json:"history,omitempty"`
}
