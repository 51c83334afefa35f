// Package arrows holds the direction of imports: packages point downward only,
// and what is heavy or privileged stays behind one door each.
package arrows

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// banned: a package (or a tree, with /...) must not import another directly.
var banned = []struct{ from, to, reason string }{
	{"bryo/sandbox/...", "bryo/rootfs/...", "siblings exchange paths and OCI structs"},
	{"bryo/sandbox/...", "bryo/network/...", "siblings exchange descriptors"},
	{"bryo/sandbox/...", "bryo/seccomp/...", "siblings exchange program bytes"},
	{"bryo/rootfs/...", "bryo/sandbox/...", "siblings"},
	{"bryo/rootfs/...", "bryo/network/...", "siblings"},
	{"bryo/rootfs/...", "bryo/seccomp/...", "siblings"},
	{"bryo/network/...", "bryo/sandbox/...", "siblings"},
	{"bryo/network/...", "bryo/rootfs/...", "siblings"},
	{"bryo/network/...", "bryo/seccomp/...", "siblings"},
	{"bryo/seccomp/...", "bryo/sandbox/...", "siblings"},
	{"bryo/seccomp/...", "bryo/rootfs/...", "siblings"},
	{"bryo/seccomp/...", "bryo/network/...", "siblings"},
	{"bryo/sandbox/...", "bryo/internal/engine", "points up"},
	{"bryo/rootfs/...", "bryo/internal/engine", "points up"},
	{"bryo/network/...", "bryo/internal/engine", "points up"},
	{"bryo/internal/state", "bryo/internal/engine", "points up"},
	{"bryo/internal/supervisor", "bryo/internal/engine", "points up"},
	{"bryo/internal/engine", "bryo/internal/cli", "points up"},
	{"bryo/internal/supervisor", "bryo/internal/cli", "points up"},
	{"bryo/internal/linux", "bryo/...", "the bottom: names system calls only"},
}

// behind: only the package tree `door` may import the module `what` directly.
var behind = []struct{ what, door, reason string }{
	{"github.com/urfave/cli", "bryo/internal/cli", "flags are the command line's business"},
	{"github.com/opencontainers/runc/libcontainer", "bryo/sandbox", "one place runs containers"},
	{"go.podman.io/storage", "bryo/rootfs", "one place opens the image store"},
	{"gvisor.dev/gvisor", "bryo/network/stack", "one place owns the user-mode stack"},
	{"github.com/vishvananda/netlink", "bryo/network", "one place configures links"},
}

// light packages are on the path of every start: no HTTP, no image store.
var light = []string{
	"bryo/rootfs/image", "bryo/rootfs/reference", "bryo/rootfs/mount", "bryo/rootfs/volume", "bryo/rootfs/user", "bryo/rootfs/etc",
	"bryo/internal/engine", "bryo/internal/supervisor", "bryo/sandbox", "bryo/seccomp", "bryo",
}

var heavy = []string{"net/http", "go.podman.io/storage", "github.com/google/go-containerregistry/pkg/v1/remote"}

func TestImportsPointDown(t *testing.T) {
	all := list(t)
	for _, p := range all {
		for _, rule := range banned {
			if !within(p.ImportPath, rule.from) {
				continue
			}
			for _, i := range p.Imports {
				if within(i, rule.to) && i != p.ImportPath {
					t.Errorf("%s imports %s: %s", p.ImportPath, i, rule.reason)
				}
			}
		}
	}
}

func TestEachLibraryHasOneDoor(t *testing.T) {
	for _, p := range list(t) {
		for _, rule := range behind {
			for _, i := range p.Imports {
				if within(i, rule.what+"/...") && !within(p.ImportPath, rule.door+"/...") {
					t.Errorf("%s imports %s: %s (only %s)", p.ImportPath, i, rule.reason, rule.door)
				}
			}
		}
	}
}

func TestRunPathStaysLight(t *testing.T) {
	for _, p := range list(t) {
		for _, name := range light {
			if p.ImportPath != name {
				continue
			}
			for _, dep := range p.Deps {
				for _, h := range heavy {
					if dep == h {
						t.Errorf("%s depends on %s: every start would pay for its initialisation", name, h)
					}
				}
			}
		}
	}
}

func within(path, pattern string) bool {
	tree, isTree := strings.CutSuffix(pattern, "/...")
	return path == tree || isTree && strings.HasPrefix(path, tree+"/")
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "bryo/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
