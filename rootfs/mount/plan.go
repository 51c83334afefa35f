package mount

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Flags is what a command line says about mounts, with what it stands on.
type Flags struct {
	Volumes   []string // -v, --volume
	Mounts    []string // --mount
	Tmpfs     []string // --tmpfs
	Inherited []Mount  // of --volumes-from, made by Inherit
	Image     []string // targets of the image's VOLUME
	Dir       string   // where relative sources start: the working directory; "": there is none
	Driver    string   // --volume-driver
}

// NewPlan turns flags into the container's mounts, outer targets before inner
// ones. Who names a target outweighs, in this order: -v, --mount and --tmpfs;
// then --volumes-from; then the image. The same target twice in the first group
// is an error, except that a later --tmpfs replaces an earlier one.
//
// Pure: nothing on the host is looked at.
func NewPlan(f Flags) ([]Mount, error) {
	plan, err := explicit(f)
	if err != nil {
		return nil, err
	}
	for _, m := range f.Inherited {
		plan = addNew(plan, m)
	}
	for _, target := range f.Image {
		m := Mount{Type: Volume, Target: path.Join("/", target), FromImage: true}
		if err := checkTarget(m.Target); err != nil {
			return nil, fmt.Errorf("image volume %q: %w", target, err)
		}
		m.Volume.Driver = f.Driver
		plan = addNew(plan, m)
	}
	slices.SortStableFunc(plan, func(a, b Mount) int { return depth(a.Target) - depth(b.Target) })
	return plan, nil
}

func explicit(f Flags) (plan []Mount, err error) {
	add := func(m Mount, err error) error {
		if err == nil && Find(plan, m.Target) != nil {
			//lint:ignore ST1005 docker's words
			err = fmt.Errorf("Duplicate mount point: %s", m.Target)
		}
		plan = append(plan, m)
		return err
	}
	for _, spec := range f.Volumes {
		m, err := ParseVolume(spec, f.Dir)
		if m.Type == Volume {
			m.Volume.Driver = f.Driver
		}
		if err := add(m, err); err != nil {
			return nil, err
		}
	}
	for _, spec := range f.Mounts {
		m, err := ParseMount(spec, f.Dir)
		m.Spec = true
		if err := add(m, err); err != nil {
			return nil, err
		}
	}
	for _, spec := range f.Tmpfs {
		m, err := ParseTmpfs(spec)
		if old := Find(plan, m.Target); err == nil && old != nil && old.Type == Tmpfs {
			*old = m
			continue
		}
		if err := add(m, err); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// Find returns the mount of the plan at target, nil when there is none.
func Find(plan []Mount, target string) *Mount {
	for i := range plan {
		if plan[i].Target == target {
			return &plan[i]
		}
	}
	return nil
}

func addNew(plan []Mount, m Mount) []Mount {
	if Find(plan, m.Target) != nil {
		return plan
	}
	return append(plan, m)
}

func depth(target string) int { return strings.Count(path.Clean(target), "/") }

// ParseVolumesFrom reads one --volumes-from value: CONTAINER[:OPTION,...] with
// ro, rw, z or Z.
func ParseVolumesFrom(spec string) (container, options string, err error) {
	if spec == "" {
		return "", "", errors.New("volumes-from specification cannot be an empty string")
	}
	container, options, _ = strings.Cut(spec, ":")
	if options == "" {
		return container, "rw", nil
	}
	var m Mount
	err = m.setOptions(options)
	if err == nil && (m.Propagation != "" || m.Volume.NoCopy || m.Chown || m.Flags != nil || m.Bind != (BindOptions{})) {
		err = fmt.Errorf("invalid mode: %s", options)
	}
	if err != nil {
		return "", "", err
	}
	return container, options, nil
}

// Inherit returns the mounts that another container's plan hands on under
// --volumes-from CONTAINER:options: its volumes and binds, no tmpfs. Anonymous
// volumes must have their names by then.
func Inherit(container, options string, plan []Mount) []Mount {
	var inherited []Mount
	for _, m := range plan {
		if m.Type == Tmpfs {
			continue
		}
		writable := !m.ReadOnly
		_ = m.setOptions(options) // checked by ParseVolumesFrom
		m.ReadOnly = m.ReadOnly || !writable
		m.From, m.FromImage = container, false
		inherited = append(inherited, m)
	}
	return inherited
}
