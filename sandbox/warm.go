package sandbox

import (
	"encoding/json"
	"io"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Warm does in advance what Start and Exec pay for the first time they are
// called: encoding/json learns libcontainer's types. The supervisor calls it beside
// other work.
func Warm() {
	spec := &specs.Spec{
		Version: specs.Version, Root: &specs.Root{Path: "/"}, Process: &specs.Process{},
		Linux: &specs.Linux{Resources: &specs.LinuxResources{}, Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}},
	}
	config, err := convert(Config{ID: "warm", Spec: spec})
	if err != nil {
		return
	}
	// With values in it: what lies behind an empty pointer is not looked at.
	state := libcontainer.State{NamespacePaths: map[configs.NamespaceType]string{configs.NEWNS: ""}}
	state.Config = *config
	_ = json.NewEncoder(io.Discard).Encode(&state)
	// The first process that package os starts or finds has it try out pidfds, with a child.
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Release()
	}
}
