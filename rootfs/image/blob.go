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
		Config: newRun{
			User: config.User, ExposedPorts: config.ExposedPorts, Env: config.Env, Entrypoint: config.Entrypoint,
			Cmd: config.Cmd, Volumes: config.Volumes, WorkingDir: config.WorkingDir, Labels: config.Labels,
			StopSignal: config.StopSignal, StopTimeout: config.StopTimeout, Healthcheck: config.Healthcheck,
			Shell: config.Shell, OnBuild: config.OnBuild, ArgsEscaped: config.ArgsEscaped,
		},
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
	Config       newRun    `json:"config"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []History `json:"history,omitempty"`
}

type newRun struct {
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
	StopTimeout  *int                `json:",omitempty"`
	Healthcheck  *Healthcheck        `json:",omitempty"`
	Shell        []string            `json:",omitempty"`
	OnBuild      []string            `json:",omitempty"`
	ArgsEscaped  bool                `json:",omitempty"`
}
