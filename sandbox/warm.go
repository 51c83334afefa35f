package sandbox

import (
	"encoding/json"
	"io"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Warm does in advance what Start and Exec pay for the first time they are
// called: encoding/json learns libcontainer's types, and the host's control group
// mounts are read. The supervisor calls it while it waits for its ids. It changes
// nothing; errors are Start's to find again.
func Warm() {
	encoder := json.NewEncoder(io.Discard)
	_ = encoder.Encode(&configs.Config{})
	_ = encoder.Encode(&libcontainer.State{})
	spec := &specs.Spec{
		Version: specs.Version, Root: &specs.Root{Path: "/"}, Process: &specs.Process{},
		Linux: &specs.Linux{Resources: &specs.LinuxResources{}, Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}},
	}
	config, err := convert(Config{ID: "warm", Spec: spec})
	if err != nil {
		return
	}
	// Nothing can be made in /proc: Create ends there, after all it looks up.
	_, _ = libcontainer.Create("/proc/self", "warm", config)
}
