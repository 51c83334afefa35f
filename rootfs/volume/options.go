package volume

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"bryo/rootfs/mount"
)

// checkOptions accepts the options of docker's local driver as far as a user
// without root can mount them: a bind of a directory, and a tmpfs.
func checkOptions(options map[string]string) error {
	if len(options) == 0 {
		return nil
	}
	for key := range options {
		switch key {
		case "type", "o", "device":
		case "size":
			return errors.New("quota size requested but no quota support")
		default:
			return fmt.Errorf("invalid option: %q", key)
		}
	}
	for _, key := range []string{"type", "device"} {
		if _, ok := options[key]; !ok {
			return fmt.Errorf("missing required option: %q", key)
		}
	}
	_, err := driverMount(options)
	return err
}

// driverMount is the mount that driver options stand for.
func driverMount(options map[string]string) (mount.Mount, error) {
	o := strings.FieldsFunc(options["o"], func(r rune) bool { return r == ',' })
	switch kind := options["type"]; kind {
	case "tmpfs":
		m, err := mount.ParseTmpfs("/volume:" + strings.Join(o, ","))
		return mount.Mount{Type: mount.Tmpfs, Tmpfs: m.Tmpfs, ReadOnly: m.ReadOnly}, err
	case "none", "bind", "":
		return bindMount(options["device"], o)
	default:
		return mount.Mount{}, fmt.Errorf("volume option type=%s: only the host's root can mount that; use type=none,o=bind or type=tmpfs", kind)
	}
}

func bindMount(device string, o []string) (mount.Mount, error) {
	m := mount.Mount{Type: mount.Bind, Source: path.Clean(device)}
	if !path.IsAbs(device) {
		return m, fmt.Errorf("volume option device=%s: must be an absolute path", device)
	}
	if !slices.Contains(o, "bind") && !slices.Contains(o, "rbind") {
		return m, errors.New("volume option type=none needs o=bind")
	}
	m.Bind.NonRecursive = !slices.Contains(o, "rbind")
	for _, option := range o {
		switch option {
		case "bind", "rbind", "rw":
		case "ro":
			m.ReadOnly = true
		case "nosuid", "nodev", "noexec":
			m.Flags = append(m.Flags, option)
		default:
			return m, fmt.Errorf("volume option o=%s: unknown", option)
		}
	}
	return m, nil
}
