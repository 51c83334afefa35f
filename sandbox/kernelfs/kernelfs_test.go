package kernelfs

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func spec(change func(*specs.Spec)) *specs.Spec {
	s := &specs.Spec{
		Root: &specs.Root{Path: "/run/jail"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "bind", Source: "/run/dev", Options: []string{"rbind", "rprivate"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"},
		},
		Linux: &specs.Linux{MaskedPaths: []string{"/proc/keys"}, ReadonlyPaths: []string{"/proc/sys"}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestTakeMovesWhatMountDoes(t *testing.T) {
	s := spec(nil)
	linux := s.Linux
	view := Take(s)
	if view == nil {
		t.Fatal("nothing taken")
	}
	if view.Root != "/run/jail" || view.Dev != "/run/dev" || !view.ReadSys || !view.Queues ||
		!slices.Equal(view.Hidden, []string{"/proc/keys"}) || !slices.Equal(view.ReadOnly, []string{"/proc/sys"}) {
		t.Errorf("view: %+v", view)
	}
	var left []string
	for _, m := range s.Mounts {
		left = append(left, m.Destination)
	}
	// Without a /dev libcontainer would make one.
	if !slices.Equal(left, []string{"/dev", "/sys/fs/cgroup"}) {
		t.Errorf("left to libcontainer: %v", left)
	}
	if s.Linux.MaskedPaths != nil || s.Linux.ReadonlyPaths != nil {
		t.Error("libcontainer would hide them a second time")
	}
	if len(linux.MaskedPaths) == 0 {
		t.Error("the caller's own description was changed")
	}
}

// What Mount would do otherwise than libcontainer is left to that, as a whole.
func TestTakeLeavesTheRest(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"proc of the host":    func(s *specs.Spec) { s.Mounts[0].Type = "bind" },
		"an option":           func(s *specs.Spec) { s.Mounts[0].Options = append(s.Mounts[0].Options, "subset=pid") },
		"sys of the host":     func(s *specs.Spec) { s.Mounts[3].Type = "bind" },
		"no dev of our own":   func(s *specs.Spec) { s.Mounts = slices.Delete(s.Mounts, 1, 2) },
		"hidden elsewhere":    func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"/etc/shadow"} },
		"protected elsewhere": func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/proc/../etc"} },
	} {
		s := spec(change)
		if view := Take(s); view != nil {
			t.Errorf("%s: taken: %+v", name, view)
		} else if view == nil && len(s.Mounts) < 4 {
			t.Errorf("%s: the spec was changed", name)
		}
	}
}
