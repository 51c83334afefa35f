// Package cgroup gives a container a control group (v2) of its own: below a scope
// that the user's systemd delegates, or below a group that this user may write.
// The limits themselves are written by libcontainer; here is where the group
// comes from (Way.Make), what it used (Read) and whether its memory ran out.
//
// Start reading at Way.Make, which runs in the supervisor. What it leaves out:
// cgroup v1, and which limits a user asked for.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is where every distribution mounts the unified hierarchy.
const mount = "/sys/fs/cgroup"

// Way says how this user gets a group. It is found by the command, outside of
// every namespace (package hostinfo), and used by the supervisor.
type Way struct {
	// Bus is the socket of the bus on which the user's systemd listens, UID who he
	// is there: the supervisor is root of a user namespace and cannot know.
	Bus string `json:"bus,omitempty"`
	UID int    `json:"uid,omitempty"`
	// Slice to make the scope in; empty: the manager's default.
	Slice string `json:"slice,omitempty"`
	// Parent is a writable group below the mount, for hosts without systemd.
	Parent string `json:"parent,omitempty"`
}

// Possible: there is a way at all.
func (w Way) Possible() bool { return w.Bus != "" || w.Parent != "" }

// Group is a container's control group.
type Group struct {
	// Path below the mount of the group that the container's processes are in. It
	// is made when the container starts.
	Path string
	// Controllers that can limit it.
	Controllers []string
}

// wanted are the controllers that limits need.
var wanted = []string{"cpu", "cpuset", "io", "memory", "pids"}

// prefix of what bryo makes, for people and for Sweep.
const prefix = "bryo-"

// Make finds the container a place and moves this process beside it, never into
// it: what limits the container must not limit its supervisor. The group is gone
// when the last process is, or with the next Sweep.
func (w Way) Make(id string) (Group, error) {
	name := prefix + id[:min(12, len(id))] + "-" + strconv.Itoa(os.Getpid())
	if w.Bus == "" {
		return w.below(name)
	}
	if err := w.enterScope(name + ".scope"); err != nil {
		return Group{}, err
	}
	own, err := Own()
	if err != nil {
		return Group{}, err
	}
	// No process may be in a group that hands controllers down: cgroups(7).
	aside := filepath.Join(mount, own, "supervisor")
	if err := os.Mkdir(aside, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return Group{}, err
	}
	if err := write(aside, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return Group{}, err
	}
	return Group{Path: path.Join(own, "container"), Controllers: handDown(own)}, nil
}

// below makes a group beside the processes of the parent's other children.
func (w Way) below(name string) (Group, error) {
	if w.Parent == "" {
		return Group{}, errors.New("no control group that this user may write")
	}
	Sweep(w.Parent)
	return Group{Path: path.Join(w.Parent, name), Controllers: handDown(w.Parent)}, nil
}

// handDown enables the controllers for the children of a group and says which
// ones they have. One that is not there, or not ours to give, is left out.
func handDown(group string) (enabled []string) {
	dir := filepath.Join(mount, group)
	available := fields(dir, "cgroup.controllers")
	already := fields(dir, "cgroup.subtree_control")
	for _, c := range wanted {
		if slices.Contains(already, c) || slices.Contains(available, c) && write(dir, "cgroup.subtree_control", "+"+c) == nil {
			enabled = append(enabled, c)
		}
	}
	return enabled
}

// Offers says which controllers a child of the group would have, without making
// one: those that are handed down, or could be because no process is in the way.
func Offers(group string) []string {
	dir := filepath.Join(mount, group)
	// cgroup.procs: who moves a process needs it of the common ancestor.
	for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		if unix.Access(filepath.Join(dir, file), unix.W_OK) != nil {
			return nil
		}
	}
	if len(fields(dir, "cgroup.procs")) == 0 {
		return fields(dir, "cgroup.controllers")
	}
	return fields(dir, "cgroup.subtree_control")
}

// Own is the group of this process below the mount.
func Own() (string, error) { return of("/proc/self/cgroup") }

func of(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return group, nil
		}
	}
	return "", errors.New("this process is in no cgroup v2")
}

// Unified: the host has cgroup v2 alone, as limits need it.
func Unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(mount, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// Sweep removes the groups that killed supervisors left below a parent: empty
// ones whose maker, named in the group's name, is gone.
func Sweep(parent string) {
	entries, _ := os.ReadDir(filepath.Join(mount, parent))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.IsDir() {
			continue
		}
		maker := e.Name()[strings.LastIndexByte(e.Name(), '-')+1:]
		if _, err := strconv.Atoi(maker); err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + maker); errors.Is(err, fs.ErrNotExist) {
			removeEmpty(filepath.Join(mount, parent, e.Name()))
		}
	}
}

// removeEmpty deletes a group and those below it. The kernel removes none that
// has a process.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			_ = removeEmpty(filepath.Join(dir, e.Name()))
		}
	}
	return unix.Rmdir(dir)
}

func fields(dir, file string) []string {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

func write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return fmt.Errorf("write %s to %s: %w", text, f.Name(), cause(err))
	}
	return nil
}

func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
