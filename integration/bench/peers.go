package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	floorName = "bare process"
	ownName   = "bryo run --rm"
)

// peer is one way to start /bin/true on the root files.
type peer struct {
	name    string
	program string // looked up first
	debian  string // package that has it
	prepare [][]string
	edit    func() error
	run     []string
	times   []time.Duration
}

// peers: every one without a network, as bryo's default had none either when
// this was written, and without cgroups, which a plain user has on no peer here.
func (b *bench) peers() []*peer {
	archive := filepath.Join(b.set.Dir, "busybox-docker.tar")
	const image = "example.org/from-archive:1"
	rootfs := filepath.Join(b.dir, "rootfs")
	return []*peer{
		{name: floorName, run: []string{filepath.Join(rootfs, "bin/true")}},
		{name: ownName, prepare: [][]string{{b.dir + "/bryo", "load", "-q", "-i", archive}},
			run: []string{b.dir + "/bryo", "run", "--rm", "--network", "none", image, "/bin/true"}},
		{name: "crun run", program: "crun", debian: "crun", prepare: [][]string{b.spec("crun")}, edit: b.bundle("crun"),
			run: []string{"crun", "--root", b.dir + "/run/crun", "run", "--bundle", b.dir + "/crun", "bench"}},
		{name: "runc run", program: "runc", debian: "runc", prepare: [][]string{b.spec("runc")}, edit: b.bundle("runc"),
			run: []string{"runc", "--root", b.dir + "/run/runc", "run", "--bundle", b.dir + "/runc", "bench"}},
		{name: "podman run --rm", program: "podman", debian: "podman", prepare: [][]string{{"podman", "load", "-q", "-i", archive}},
			run: []string{"podman", "run", "--rm", "--network", "none", "--pull", "never", image, "/bin/true"}},
		{name: "bwrap", program: "bwrap", debian: "bubblewrap",
			run: []string{"bwrap", "--unshare-all", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"}},
	}
}

func (b *bench) spec(runtime string) []string {
	return []string{"sh", "-c", "cd " + filepath.Join(b.dir, runtime) + " && " + runtime + " spec --rootless"}
}

// bundle edits the runtime's own default configuration: our root files and
// program, no terminal, no cgroup mount and namespace.
func (b *bench) bundle(runtime string) func() error {
	return func() error {
		file := filepath.Join(b.dir, runtime, "config.json")
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var config map[string]any
		if err := json.Unmarshal(text, &config); err != nil {
			return err
		}
		process, _ := config["process"].(map[string]any)
		linux, _ := config["linux"].(map[string]any)
		if process == nil || linux == nil {
			return fmt.Errorf("%s: no process or linux section", file)
		}
		process["terminal"], process["args"] = false, []string{"/bin/true"}
		config["root"] = map[string]any{"path": filepath.Join(b.dir, "rootfs"), "readonly": false}
		config["mounts"] = without(config["mounts"], "type", "cgroup")
		linux["namespaces"] = without(linux["namespaces"], "type", "cgroup")
		if text, err = json.Marshal(config); err != nil {
			return err
		}
		return os.WriteFile(file, text, 0o644)
	}
}

func without(list any, key, value string) any {
	items, _ := list.([]any)
	return slices.DeleteFunc(items, func(item any) bool {
		m, _ := item.(map[string]any)
		return m[key] == value
	})
}
