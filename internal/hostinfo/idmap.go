package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// IDMap is what a container of this user can map besides the user's own ids:
// container id 0 is the user, container ids 1, 2, … are these ranges in order.
type IDMap struct {
	UIDs, GIDs []Range
	// Direct: no newuidmap is needed, the process may write the map itself.
	Direct bool
}

// ErrNoHelper: newuidmap or newgidmap is absent or without its privilege.
var ErrNoHelper = errors.New("no usable newuidmap")

// FullMap returns the ids that a container may use, for the run path: two small
// files are read, nothing is started. An error (ErrNoSubIDs, ErrNoHelper or a
// broken line of the user's own) means single-uid mode and says why.
func FullMap() (IDMap, error) { return System().FullMap() }

func (h *Host) FullMap() (IDMap, error) {
	uids, gids, err := h.SubIDs()
	if err != nil {
		return IDMap{}, err
	}
	root := h.mayWriteMaps()
	if len(uids) == 0 || len(gids) == 0 {
		if root {
			return h.rootMap()
		}
		return IDMap{}, fmt.Errorf("%w for %s in /etc/subuid and /etc/subgid", ErrNoSubIDs, h.User.label())
	}
	if root && h.holdsAll("uid", uids) && h.holdsAll("gid", gids) {
		return IDMap{UIDs: uids, GIDs: gids, Direct: true}, nil
	}
	if problem := h.idMapHelperProblem(); problem != "" {
		if root {
			return h.rootMap()
		}
		return IDMap{}, fmt.Errorf("%w: %s", ErrNoHelper, problem)
	}
	return IDMap{UIDs: uids, GIDs: gids}, nil
}

const (
	capSetgid = 6
	capSetuid = 7
)

// mayWriteMaps: with CAP_SETUID and CAP_SETGID in its own user namespace a
// process may map any id that exists there (user_namespaces(7)).
func (h *Host) mayWriteMaps() bool {
	if h.User.UID != 0 {
		return false
	}
	caps, err := strconv.ParseUint(h.statusField("CapEff"), 16, 64)
	return err == nil && caps&(1<<capSetuid) != 0 && caps&(1<<capSetgid) != 0
}

// unclaimed starts the ids that root takes for itself when it has no entry in
// /etc/subuid: 1879048192-2147483647 is given to nobody by the common
// allocations (systemd's table of uids and gids).
const unclaimed = 1879048192

// rootMap picks ids for uid 0 without a subuid entry: an unclaimed range, or
// inside a user namespace everything but 0 that exists there.
func (h *Host) rootMap() (IDMap, error) {
	uids, gids := h.ownRanges("uid"), h.ownRanges("gid")
	if len(uids) == 0 || len(gids) == 0 {
		return IDMap{}, fmt.Errorf("%w: this user namespace has one id only", ErrNoSubIDs)
	}
	return IDMap{UIDs: uids, GIDs: gids, Direct: true}, nil
}

func (h *Host) ownRanges(kind string) []Range {
	extents := h.ownExtents(kind)
	high := Range{unclaimed, 65536}
	for _, e := range extents {
		if uint64(e.Start) <= uint64(high.Start) && high.end() <= e.end() {
			return []Range{high}
		}
	}
	return disjoint(extents, 0)
}

// ownExtents are the ids that exist in this process's user namespace.
func (h *Host) ownExtents(kind string) []Range {
	var out []Range
	for line := range strings.SplitSeq(h.read("proc/self/"+kind+"_map"), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.ParseUint(f[0], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil {
			out = append(out, Range{uint32(start), uint32(count)})
		}
	}
	return out
}

func (h *Host) holdsAll(kind string, ranges []Range) bool {
	extents := h.ownExtents(kind)
	for _, r := range ranges {
		if len(subtract(r, extents)) > 0 {
			return false
		}
	}
	return true
}

func (h *Host) idMapHelpers(context.Context) Feature {
	f := Feature{Name: "newuidmap, newgidmap", State: OK, Doc: "docs/hosts.md#newuidmap"}
	problem := h.idMapHelperProblem()
	switch {
	case problem == "":
		f.Detail = "installed and privileged"
	case h.mayWriteMaps():
		f.Detail = "not needed: root writes the map itself"
	default:
		f.State, f.Detail = Missing, problem
		f.Without = "containers get one id, the user's own (single-uid mode)"
		f.Cure = h.helperCure()
	}
	return f
}

// idMapHelperProblem says why the two programs cannot write a map, "" if they can.
func (h *Host) idMapHelperProblem() string {
	for _, program := range []string{"newuidmap", "newgidmap"} {
		path, err := h.Kernel.LookPath(program)
		if errors.Is(err, exec.ErrNotFound) {
			return program + " is not installed"
		}
		if err != nil {
			return program + ": " + err.Error()
		}
		if problem := h.Kernel.PrivilegeProblem(path); problem != "" {
			return path + " " + problem
		}
	}
	if h.statusField("NoNewPrivs") == "1" {
		return "no_new_privs is set on this session: set-user-id programs have no effect"
	}
	return ""
}

func (h *Host) helperCure() []string {
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := h.Kernel.LookPath(program); errors.Is(err, exec.ErrNotFound) {
			return []string{h.install("uidmap", "shadow-utils", "shadow", "shadow-uidmap")}
		}
	}
	if h.statusField("NoNewPrivs") == "1" {
		return nil // set by whoever started the session; nothing of ours lifts it
	}
	return []string{"sudo chmod u+s $(command -v newuidmap) $(command -v newgidmap)"}
}

// install is the command that installs a package on this distribution; the
// package has another name on each family.
func (h *Host) install(debian, fedora, arch, alpine string) string {
	release := h.read("etc/os-release")
	for line := range strings.SplitSeq(release, "\n") {
		value, ok := strings.CutPrefix(line, "ID_LIKE=")
		if !ok {
			if value, ok = strings.CutPrefix(line, "ID="); !ok {
				continue
			}
		}
		value = strings.Trim(value, `"'`)
		switch {
		case strings.Contains(value, "fedora"), strings.Contains(value, "rhel"):
			return "sudo dnf install " + fedora
		case strings.Contains(value, "suse"):
			return "sudo zypper install " + arch
		case strings.Contains(value, "arch"):
			return "sudo pacman -S " + arch
		case strings.Contains(value, "alpine"):
			return "sudo apk add " + alpine
		}
	}
	return "sudo apt-get install " + debian
}
