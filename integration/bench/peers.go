package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// peer is one way to start /bin/true on the root files.
type peer struct {
	name    string
	program string // looked up first; empty: bryo
	debian  string // package that has it
	prepare [][]string
	edit    func() error
	run     []string
	target  float64 // bryo's time by this peer's
}

// peers of a start: the first is bryo itself. None has cgroups, which a plain
// user is not given on any of them here.
func (b *bench) peers() []*peer {
	rootfs := filepath.Join(b.Dir, "rootfs")
	load := [][]string{{"podman", "load", "-q", "-i", b.archive()}}
	return []*peer{
		{name: "bryo", run: []string{"bryo", "run", "--rm", image, "/bin/true"}},
		{name: "crun run, bare bundle", program: "crun", debian: "crun", prepare: [][]string{b.spec("crun")}, edit: b.bundle("crun"), target: 2,
			run: []string{"crun", "--root", b.Dir + "/run/crun", "run", "--bundle", b.Dir + "/crun", "bench"}},
		{name: "runc run, bare bundle", program: "runc", debian: "runc", prepare: [][]string{b.spec("runc")}, edit: b.bundle("runc"),
			run: []string{"runc", "--root", b.Dir + "/run/runc", "run", "--bundle", b.Dir + "/runc", "bench"}},
		{name: "podman run --rm", program: "podman", debian: "podman", prepare: load, target: 1.0 / 8,
			run: []string{"podman", "run", "--rm", "--pull", "never", image, "/bin/true"}},
		{name: "bwrap --unshare-all", program: "bwrap", debian: "bubblewrap",
			run: []string{"bwrap", "--unshare-all", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"}},
		{name: "a bare process", run: []string{filepath.Join(rootfs, "bin/true")}},
	}
}

// preparePodman makes podman ready, or says why it cannot be compared.
func (b *bench) preparePodman() error {
	if _, err := exec.LookPath("podman"); err != nil {
		return errors.New("podman: not compared: missing: apt-get install podman")
	}
	if err := b.Do("podman", "load", "-q", "-i", b.archive()); err != nil {
		return fmt.Errorf("podman: not compared: %w", err)
	}
	return nil
}

func (b *bench) spec(runtime string) []string {
	return []string{"sh", "-c", "cd " + filepath.Join(b.Dir, runtime) + " && " + runtime + " spec --rootless"}
}

// bundle edits the runtime's own default configuration: our root files and
// program, no terminal, no cgroup mount and namespace.
func (b *bench) bundle(runtime string) func() error {
	return func() error {
		file := filepath.Join(b.Dir, runtime, "config.json")
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
		config["root"] = map[string]any{"path": filepath.Join(b.Dir, "rootfs"), "readonly": false}
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

// ready prepares a peer and starts it a few times; it returns why it cannot be
// compared.
func (b *bench) ready(p *peer) string {
	if _, err := exec.LookPath(p.program); err != nil && p.program != "" {
		return "missing: apt-get install " + p.debian
	}
	for _, step := range p.prepare {
		if err := b.Do(step...); err != nil {
			return err.Error()
		}
	}
	if p.edit != nil {
		if err := p.edit(); err != nil {
			return err.Error()
		}
	}
	for range 3 {
		if _, err := b.Time(p.run...); err != nil {
			return err.Error()
		}
	}
	return ""
}

// rest between two commands: all but bwrap leave something that goes on for some
// milliseconds after their end, which is not the next one's.
const rest = 50 * time.Millisecond

// inTurn runs every command rounds times, one after another.
func (b *bench) inTurn(rounds int, commands ...[]string) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(commands))
	for range rounds {
		for i, command := range commands {
			if len(commands) > 1 {
				time.Sleep(rest)
			}
			used, err := b.Time(command...)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", strings.Join(command[:min(2, len(command))], " "), err)
			}
			times[i] = append(times[i], used.Wall)
		}
	}
	return times, nil
}
