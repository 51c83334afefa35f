// Package mount makes the mounts of one container that need more than the OCI
// runtime does: the overlay root, the prepared /dev, and the binds, volumes and
// tmpfs that the user asked for.
//
// It works in two steps. The CLI turns flags into a plan, a list of Mount values
// that says everything and is kept in the container's configuration (NewPlan in
// plan.go; it touches no file). The supervisor applies it inside the container's
// user and mount namespace: Overlay (overlay.go), Dev (dev.go), Stage (stage.go).
//
// Nothing here mounts inside the container's root. Binds are pinned and attached
// at a private staging directory, and libcontainer, which resolves targets inside
// the root without being led out of it, binds them from there.
//
// Left out: proc, sysfs, devpts, mqueue, shm and masks (the runtime's), and
// making volumes (package volume).
package mount

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"strings"
)

// Type is what a Mount puts into the container.
type Type string

const (
	Bind   Type = "bind"
	Volume Type = "volume"
	Tmpfs  Type = "tmpfs"
)

// Mount is one mount of the plan, as plain data. Its JSON form is part of the
// container's configuration on disk.
type Mount struct {
	Type     Type   `json:"type"`
	Source   string `json:"source,omitempty"` // Bind: absolute host path; Volume: name, "" for a new anonymous one
	Target   string `json:"target"`           // absolute, clean path in the container
	ReadOnly bool   `json:"readOnly,omitempty"`
	Mode     string `json:"mode,omitempty"` // the options of -v as written; docker inspect shows them

	Propagation Propagation `json:"propagation,omitempty"` // "" is rprivate
	Relabel     string      `json:"relabel,omitempty"`     // "z" shared, "Z" private SELinux label
	Chown       bool        `json:"chown,omitempty"`       // U: give the source to the container's user
	Flags       []string    `json:"flags,omitempty"`       // nosuid, exec, ... beyond the source's own

	Bind   BindOptions   `json:"bind,omitzero"`
	Volume VolumeOptions `json:"volume,omitzero"`
	Tmpfs  []string      `json:"tmpfs,omitempty"` // options of the tmpfs: size=64m, mode=1777, noexec

	Spec      bool   `json:"spec,omitempty"`      // asked for by --mount: docker's inspect parts them from -v
	FromImage bool   `json:"fromImage,omitempty"` // the image's VOLUME, not the user, wants it
	From      string `json:"from,omitempty"`      // --volumes-from: the container it comes from
}

// BindOptions are the choices that only binds have.
type BindOptions struct {
	NonRecursive   bool `json:"nonRecursive,omitempty"`   // leave out the mounts below the source
	WritableBelow  bool `json:"writableBelow,omitempty"`  // bind-recursive=writable
	ReadOnlyForced bool `json:"readOnlyForced,omitempty"` // bind-recursive=readonly: all of it or an error
}

// VolumeOptions are the choices that only volumes have.
type VolumeOptions struct {
	NoCopy  bool              `json:"noCopy,omitempty"` // do not fill it from the image
	Subpath string            `json:"subpath,omitempty"`
	Driver  string            `json:"driver,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`  // for a volume made by this mount
	Options map[string]string `json:"options,omitempty"` // of the driver
}

// IsZero says that nothing was chosen.
func (o VolumeOptions) IsZero() bool { return reflect.ValueOf(o).IsZero() }

// Propagation is how mounts made later below one end show at the other; see
// mount_namespaces(7).
type Propagation string

func (p Propagation) valid() bool {
	switch p {
	case "private", "rprivate", "slave", "rslave", "shared", "rshared":
		return true
	}
	return false
}

// errRootTarget has docker's words.
var errRootTarget = errors.New("invalid specification: destination can't be '/'")

// checkTarget accepts the places in a container where a mount may go.
func checkTarget(target string) error {
	switch {
	case target == "":
		return errors.New("field Target must not be empty")
	case strings.ContainsRune(target, 0):
		return fmt.Errorf("invalid mount path: %q has a NUL byte", target)
	case path.Clean(target) == "/":
		return errRootTarget
	case !path.IsAbs(target):
		return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", target)
	}
	return checkProc(path.Clean(target))
}

// checkProc refuses targets inside /proc, which would hide what the kernel says
// or redirect what a runtime writes there (CVE-2019-19921). /proc itself is
// judged when its source is known: a bind of a real procfs is fine. Links that
// lead there are caught by the runtime, which looks again after resolving.
func checkProc(target string) error {
	below, inside := strings.CutPrefix(target, "/proc/")
	if !inside {
		return nil
	}
	switch below { // lxcfs replaces these; the runtime allows the same ones
	case "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg",
		"slabinfo", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled":
		return nil
	}
	return fmt.Errorf("%q cannot be mounted because it is inside /proc", target)
}

// CheckVolumeName applies docker's rule for the names of volumes. Package volume
// uses it too: no other name ever becomes part of a path.
func CheckVolumeName(name string) error {
	if len(name) == 1 {
		return errors.New("volume name is too short, names should be at least two alphanumeric characters")
	}
	ok := name != "" && len(name) <= 255
	for i := range len(name) {
		ok = ok && (alphanumeric(name[i]) || i > 0 && strings.IndexByte("_.-", name[i]) >= 0)
	}
	if !ok {
		return fmt.Errorf("%q includes invalid characters for a local volume name, only %q are allowed. "+
			"If you intended to pass a host directory, use absolute path", name, "[a-zA-Z0-9][a-zA-Z0-9_.-]")
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
