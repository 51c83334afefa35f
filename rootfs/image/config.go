package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxJSON bounds a manifest and an image configuration. Registries and other
// engines use the same 4 MiB; what is larger was made to exhaust memory.
const MaxJSON = 4 << 20

// Run is what a container gets from its image.
type Run struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"` // each KEY=VALUE, no NUL
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	StopTimeout  *int                `json:"StopTimeout,omitempty"` // seconds
	Healthcheck  *Healthcheck        `json:"Healthcheck,omitempty"`
	Shell        []string            `json:"Shell,omitempty"`
	OnBuild      []string            `json:"OnBuild,omitempty"`
	ArgsEscaped  bool                `json:"ArgsEscaped,omitempty"`
}

// Config is an image's configuration as the OCI image specification has it,
// with the fields that Docker adds. It is parsed from untrusted bytes: see
// ParseConfig for what is refused, and StopSignalNumber and Dir for the
// fields whose values are checked only when they are used.
//
//easyjson:json
type Config struct {
	Run

	Architecture string    `json:"architecture,omitempty"`
	OS           string    `json:"os,omitempty"`
	OSVersion    string    `json:"os.version,omitempty"`
	Variant      string    `json:"variant,omitempty"`
	Author       string    `json:"author,omitempty"`
	Created      time.Time `json:"created"`
	DiffIDs      []string  `json:"diff_ids,omitempty"` // sha256:..., bottom first
	History      []History `json:"-"`                  // left out of records: a run has no use for it
}

// Healthcheck is Docker's HEALTHCHECK; durations are nanoseconds, as Docker
// writes them.
//
//easyjson:json
type Healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// History is one step of the image's making, oldest first.
type History struct {
	Created    time.Time `json:"created"`
	CreatedBy  string    `json:"created_by,omitempty"`
	Author     string    `json:"author,omitempty"`
	Comment    string    `json:"comment,omitempty"`
	EmptyLayer bool      `json:"empty_layer,omitempty"`
}

// wireConfig is the configuration as it stands in the blob.
type wireConfig struct {
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	OSVersion    string     `json:"os.version"`
	Variant      string     `json:"variant"`
	Author       string     `json:"author"`
	Created      *time.Time `json:"created"`
	Config       Run        `json:"config"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		Created    *time.Time `json:"created"`
		CreatedBy  string     `json:"created_by"`
		Author     string     `json:"author"`
		Comment    string     `json:"comment"`
		EmptyLayer bool       `json:"empty_layer"`
	} `json:"history"`
}

// maxVolumes of one image: each is a folder and a mount of a start. Real ones have a
// handful.
const maxVolumes = 128

// ErrConfig is wrapped by every error of ParseConfig.
var ErrConfig = errors.New("image configuration")

// ParseConfig reads an image configuration from an untrusted blob. Refused are
// blobs above MaxJSON, invalid JSON, Env entries that are not KEY=VALUE or hold
// a NUL (an engine that completed a bare KEY from its own environment leaked
// it: CVE-2026-57231), NULs in any argument, and digests that are no sha256.
func ParseConfig(blob []byte) (*Config, error) {
	if len(blob) > MaxJSON {
		return nil, fmt.Errorf("%w: %d bytes, more than the limit of %d", ErrConfig, len(blob), MaxJSON)
	}
	var wire wireConfig
	if err := json.Unmarshal(blob, &wire); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrConfig, err)
	}
	config := flatten(&wire)
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrConfig, err)
	}
	return config, nil
}

func flatten(wire *wireConfig) *Config {
	config := &Config{
		Run:          wire.Config,
		Architecture: wire.Architecture, OS: wire.OS, OSVersion: wire.OSVersion, Variant: wire.Variant,
		Author: wire.Author, DiffIDs: wire.RootFS.DiffIDs,
	}
	if wire.Created != nil {
		config.Created = *wire.Created
	}
	for _, step := range wire.History {
		entry := History{CreatedBy: step.CreatedBy, Author: step.Author, Comment: step.Comment, EmptyLayer: step.EmptyLayer}
		if step.Created != nil {
			entry.Created = *step.Created
		}
		config.History = append(config.History, entry)
	}
	return config
}

func (c *Config) check() error {
	for _, entry := range c.Env {
		if err := CheckEnv(entry); err != nil {
			return err
		}
	}
	for _, list := range [][]string{c.Entrypoint, c.Cmd, c.Shell, {c.User, c.WorkingDir, c.StopSignal}} {
		for _, value := range list {
			if strings.IndexByte(value, 0) >= 0 {
				return fmt.Errorf("%.40q holds a NUL byte", value)
			}
		}
	}
	if len(c.Volumes) > maxVolumes {
		return fmt.Errorf("%d volumes, more than the limit of %d", len(c.Volumes), maxVolumes)
	}
	for _, id := range c.DiffIDs {
		if !IsDigest(id) {
			return fmt.Errorf("layer %.80q is no sha256 digest", id)
		}
	}
	return nil
}

// CheckEnv tells whether entry is a complete KEY=VALUE.
func CheckEnv(entry string) error {
	key, _, found := strings.Cut(entry, "=")
	switch {
	case strings.IndexByte(entry, 0) >= 0:
		return fmt.Errorf("environment entry %.40q holds a NUL byte", entry)
	case !found:
		return fmt.Errorf("environment entry %.40q is no KEY=VALUE", entry)
	case key == "":
		return fmt.Errorf("environment entry %.40q has no name", entry)
	}
	return nil
}

// Platform is "os/arch" or "os/arch/variant", as --platform takes it.
func (c *Config) Platform() string {
	platform := c.OS + "/" + c.Architecture
	if c.Variant != "" {
		platform += "/" + c.Variant
	}
	return platform
}

// digestLength is len("sha256:") and 64 hex digits.
const digestLength = 7 + 64

// IsDigest tells whether s is "sha256:" and 64 lower-case hex digits, and so
// can be part of a path (CVE-2024-3727).
func IsDigest(s string) bool {
	return len(s) == digestLength && strings.HasPrefix(s, "sha256:") && isHex(s[7:])
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
