// Package hostinfo finds out what this host lets an ordinary user do: user
// namespaces, subordinate ids, overlay, tun, cgroups, seccomp and the rest, and
// for each missing feature what bryo does without it and which command cures it.
//
// Start reading at Collect, the whole table behind `bryo doctor`. The run path
// uses the single checks instead: FullMap (which ids to map), Cgroups,
// ProcMasked, SysMasked; and Explain, which turns a failed namespace set-up into
// cause and cure. docs/hosts.md has one section per feature.
//
// It changes nothing on the host and decides nothing: what to do about a
// missing feature is the caller's business.
package hostinfo

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
)

// State says how much of a feature this host gives to this user.
type State string

const (
	OK       State = "ok"
	Degraded State = "degraded" // there, with a limit that Detail names
	Missing  State = "missing"
)

// Feature is one row of the table.
type Feature struct {
	Name    string   `json:"name"`
	State   State    `json:"state"`
	Detail  string   `json:"detail"`            // what was found, one line
	Without string   `json:"without,omitempty"` // what bryo does without it; empty when ok
	Cure    []string `json:"cure,omitempty"`    // shell commands, in order; empty when ok or when there is none
	Doc     string   `json:"doc"`               // section of the documentation
}

// Report is what `bryo doctor` prints.
type Report struct {
	Kernel   string    `json:"kernel"`
	User     User      `json:"user"`
	Features []Feature `json:"features"`
}

// Host is what the checks look at. System gives the running one; tests give
// their own files and kernel answers.
type Host struct {
	FS     fs.FS // the root directory
	User   User
	Getenv func(string) string
	Kernel Kernel
}

// System is the host that this process runs on, seen as its effective user.
func System() *Host {
	files := os.DirFS("/")
	return &Host{FS: files, User: currentUser(files), Getenv: os.Getenv, Kernel: running{}}
}

// Collect checks every feature of this host for the current user. Nothing is
// left behind; it takes some ten milliseconds, because namespaces and mounts
// are tried for real.
func Collect(ctx context.Context) Report {
	return System().Collect(ctx)
}

// Collect checks every feature, the ones that everything else needs first.
func (h *Host) Collect(ctx context.Context) Report {
	r := Report{Kernel: h.Kernel.Release(), User: h.User}
	for _, check := range []func(context.Context) Feature{
		h.kernelVersion, h.userNamespaces, h.subordinateIDs, h.idMapHelpers,
		h.overlay, h.procMount, h.sys, h.devices, h.seccomp, h.landlock, h.cgroup, h.tun, h.fuse,
		h.securityModule, h.keyring, h.runtimeDir, h.home, h.tmp,
	} {
		r.Features = append(r.Features, check(ctx))
	}
	return r
}

// Worst is the state of the feature that is worst off.
func (r Report) Worst() State {
	worst := OK
	for _, f := range r.Features {
		if f.State == Missing {
			return Missing
		}
		if f.State == Degraded {
			worst = Degraded
		}
	}
	return worst
}

// WriteText prints the table for a person: a line per feature, and below it what
// bryo does without the feature and the commands that bring it.
func (r Report) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "FEATURE\tSTATE\tDETAIL")
	for _, f := range r.Features {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Name, f.State, f.Detail)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range r.Features {
		if f.State == OK {
			continue
		}
		if _, err := io.WriteString(w, f.advice()); err != nil {
			return err
		}
	}
	return nil
}

func (f Feature) advice() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s\n", f.Name, f.Without)
	for _, command := range f.Cure {
		fmt.Fprintf(&b, "    %s\n", command)
	}
	fmt.Fprintf(&b, "    see %s\n", f.Doc)
	return b.String()
}

// read returns a small file without its last newline; "" when it cannot be read.
func (h *Host) read(path string) string {
	f, err := h.FS.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b), "\n")
}

// maxFile bounds every file read here; the largest real one, the mount table of
// a host with some thousand mounts, stays below it.
const maxFile = 4 << 20

// statusField returns a field of /proc/self/status, for example "Seccomp".
func (h *Host) statusField(name string) string {
	for _, line := range strings.Split(h.read("proc/self/status"), "\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
