package mount

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// ParseVolume reads one -v/--volume value: [SOURCE:]TARGET[:OPTION,...]. A source
// that starts with "/" or "." is a host path, relative ones from dir; any other
// is the name of a volume. Grammar and messages are docker's, with podman's U,
// exec, suid, dev and their opposites beside them.
func ParseVolume(spec, dir string) (Mount, error) {
	source, target, options, err := splitVolume(spec)
	if err != nil {
		return Mount{}, err
	}
	m := Mount{Type: Volume, Source: source, Target: target, Mode: options}
	if strings.HasPrefix(source, ".") {
		if m.Source, err = relativeTo(dir, source); err != nil {
			return Mount{}, err
		}
	}
	if path.IsAbs(m.Source) {
		m.Type = Bind
		m.Source = path.Clean(m.Source)
	}
	if err := m.setOptions(options); err != nil {
		return Mount{}, err
	}
	if err := m.check(); err != nil {
		return Mount{}, fmt.Errorf("invalid volume specification: '%s': %w", spec, err)
	}
	m.Target = path.Clean(m.Target)
	return m, nil
}

// relativeTo names a host path that starts at dir; "": the working directory is gone.
func relativeTo(dir, source string) (string, error) {
	if dir == "" {
		return "", fmt.Errorf("source %s: the working directory was deleted", source)
	}
	return filepath.Join(dir, source), nil
}

func splitVolume(spec string) (source, target, options string, err error) {
	invalid := fmt.Errorf("invalid volume specification: '%s'", spec)
	if spec == "" {
		return "", "", "", errors.New("invalid empty volume spec")
	}
	parts := strings.Split(spec, ":")
	for _, part := range parts[:min(2, len(parts))] {
		if part == "" {
			return "", "", "", fmt.Errorf("invalid spec: %s: empty section between colons", spec)
		}
	}
	switch len(parts) {
	case 1:
		return "", parts[0], "", nil
	case 2:
		// TARGET:OPTIONS is no volume: an anonymous one has no options.
		if new(Mount).setOptions(parts[1]) == nil {
			return "", "", "", invalid
		}
		return parts[0], parts[1], "", nil
	case 3:
		return parts[0], parts[1], parts[2], nil
	}
	return "", "", "", fmt.Errorf("invalid spec: %s: too many colons", spec)
}

// setOptions applies the comma-separated options of -v. One of each sort.
func (m *Mount) setOptions(options string) error {
	if options == "" {
		return nil
	}
	used := map[string]bool{}
	for option := range strings.SplitSeq(options, ",") {
		sort := m.setOption(option)
		if sort == "" || used[sort] {
			return fmt.Errorf("invalid mode: %s", options)
		}
		used[sort] = true
	}
	return nil
}

// setOption applies one option and names its sort, "" when it is unknown.
func (m *Mount) setOption(option string) (sort string) {
	switch option {
	case "rw", "ro":
		m.ReadOnly = option == "ro"
		return "access"
	case "z", "Z":
		m.Relabel = option
		return "label"
	case "U":
		m.Chown = true
		return "owner"
	case "nocopy":
		m.Volume.NoCopy = true
		return "copy"
	case "consistent", "cached", "delegated":
		return "consistency" // for Docker Desktop; means nothing on Linux
	case "rbind", "bind":
		m.Bind.NonRecursive = option == "bind"
		return "recursion"
	case "exec", "noexec", "suid", "nosuid", "dev", "nodev":
		m.Flags = append(m.Flags, option)
		return "flag " + strings.TrimPrefix(option, "no")
	}
	if Propagation(option).valid() {
		m.Propagation = Propagation(option)
		return "propagation"
	}
	return ""
}

// check is docker's validation of a mount, whichever flag it came from.
func (m *Mount) check() error {
	err := m.checkFields()
	if err != nil {
		return fmt.Errorf("invalid mount config for type %q: %w", m.Type, err)
	}
	return nil
}

func (m *Mount) checkFields() error {
	if err := checkTarget(m.Target); err != nil {
		return err
	}
	if strings.ContainsRune(m.Source, 0) {
		return fmt.Errorf("invalid mount path: %q has a NUL byte", m.Source)
	}
	switch m.Type {
	case Bind:
		return m.checkBind()
	case Volume:
		return m.checkVolume()
	case Tmpfs:
		return m.checkTmpfs()
	case "image":
		return errors.New("mounting images is not supported")
	}
	return errors.New("mount type unknown")
}

func (m *Mount) checkBind() error {
	if m.Source == "" {
		return errors.New("field Source must not be empty")
	}
	if m.hasVolumeOptions() {
		return errors.New("field VolumeOptions must not be specified")
	}
	if !path.IsAbs(m.Source) {
		return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", m.Source)
	}
	if m.Propagation != "" && !m.Propagation.valid() {
		return fmt.Errorf("invalid propagation mode: %s", m.Propagation)
	}
	return nil
}

func (m *Mount) checkVolume() error {
	if m.Propagation != "" || m.Bind != (BindOptions{}) {
		return errors.New("field BindOptions must not be specified")
	}
	if m.Source == "" {
		if m.Volume.Subpath != "" {
			return errors.New("must not set Subpath when using anonymous volumes")
		}
		if m.ReadOnly {
			return errors.New("must not set ReadOnly mode when using anonymous volumes")
		}
		return nil
	}
	if m.Volume.Subpath != "" && !filepath.IsLocal(m.Volume.Subpath) {
		return errors.New("subpath must be a relative path within the volume")
	}
	return CheckVolumeName(m.Source)
}

func (m *Mount) checkTmpfs() error {
	if m.Source != "" {
		return errors.New("field Source must not be specified")
	}
	if m.Propagation != "" {
		return errors.New("field BindOptions must not be specified")
	}
	_, err := tmpfsOptions(m.Tmpfs, m.ReadOnly)
	return err
}

func (m *Mount) hasVolumeOptions() bool {
	v := m.Volume
	return v.NoCopy || v.Subpath != "" || v.Driver != "" || v.Labels != nil || v.Options != nil
}
