package sandbox

import (
	"os"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// libcontainer's manager of control groups names no place and makes none, and that is no
// error: what it would find out by trying.
func TestSkipGroups(t *testing.T) {
	if cgroups.IsCgroup2UnifiedMode() {
		t.Log("control groups of version 2: there is nothing to skip")
	}
	all, root := controllers, groupRoot
	defer func() { controllers, groupRoot = all, root }()
	config := &cgroups.Cgroup{Name: "bryo-test", Parent: "/bryo", Rootless: true, Resources: &cgroups.Resources{}}
	named := func() int {
		m, err := manager.New(config)
		if err != nil {
			t.Fatal(err)
		}
		return len(m.GetPaths())
	}
	before := named()
	skipGroups()
	after := named()
	if cgroups.IsCgroup2UnifiedMode() {
		if before != after {
			t.Errorf("%d places, %d before", after, before)
		}
		return
	}
	if before == 0 || after != 0 {
		t.Fatalf("%d places, %d before; want none, and some", after, before)
	}
	m, err := manager.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(os.Getpid()); err != nil {
		t.Errorf("Apply: %v", err)
	}
	if m.Exists() {
		t.Error("a group exists")
	}
	if err := m.Destroy(); err != nil {
		t.Errorf("Destroy: %v", err)
	}
}
