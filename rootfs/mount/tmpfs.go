package mount

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// ParseTmpfs reads one --tmpfs value: TARGET[:OPTION,...], options as of
// mount(8): ro, exec, suid, dev and their opposites, size=, mode=, uid=, gid=,
// nr_inodes=, nr_blocks=, mpol=.
func ParseTmpfs(spec string) (Mount, error) {
	target, options, _ := strings.Cut(spec, ":")
	m := Mount{Type: Tmpfs, Target: target, Mode: options}
	if options != "" {
		m.Tmpfs = strings.Split(options, ",")
	}
	if err := m.check(); err != nil {
		return Mount{}, fmt.Errorf("invalid tmpfs '%s': %w", spec, err)
	}
	m.ReadOnly = slices.Contains(m.Tmpfs, "ro")
	m.Target = path.Clean(target)
	return m, nil
}

// tmpfsOptions completes the user's options with docker's defaults. Of two that
// contradict the later one counts, so `exec` lifts the default `noexec`.
func tmpfsOptions(user []string, readOnly bool) ([]string, error) {
	all := append([]string{"noexec", "nosuid", "nodev"}, user...)
	if readOnly {
		all = append(all, "ro")
	}
	var kept []string
	seen := map[string]bool{}
	for _, option := range slices.Backward(all) {
		sort, ok := tmpfsSort(option)
		if !ok {
			return nil, fmt.Errorf("invalid tmpfs option %q", option)
		}
		if !seen[sort] && sort != "defaults" {
			seen[sort] = true
			kept = append(kept, option)
		}
	}
	slices.Reverse(kept)
	return kept, nil
}

// tmpfsSort names what an option decides. Two of one sort exclude each other.
func tmpfsSort(option string) (sort string, ok bool) {
	if key, _, hasValue := strings.Cut(option, "="); hasValue {
		switch key {
		case "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol":
			return key, true
		}
		return "", false
	}
	switch option {
	case "defaults":
		return option, true
	case "ro", "rw":
		return "access", true
	case "suid", "dev", "exec", "diratime", "nosuid", "nodev", "noexec", "nodiratime":
		return strings.TrimPrefix(option, "no"), true
	case "atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime":
		return "atime", true
	case "sync", "async":
		return "sync", true
	case "dirsync":
		return option, true
	}
	return "", false
}
