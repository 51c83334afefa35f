package sandbox

import (
	_ "unsafe" // for go:linkname

	_ "github.com/opencontainers/cgroups/fs" // whose variables these are
)

// On a host with control groups of version 1 libcontainer looks for the mount of each
// controller, tries to make a group there and learns that it may not: half a
// millisecond in a start's longest chain. Where that is known no controller is named.
//
//go:linkname controllers github.com/opencontainers/cgroups/fs.subsystems
var controllers []any // of an interface of its own with methods: only its length is touched

//go:linkname groupRoot github.com/opencontainers/cgroups/fs.cgroupRoot
var groupRoot string

// skipGroups holds for all containers of this process.
func skipGroups() {
	controllers = controllers[:0]
	groupRoot = "/sys/fs/cgroup"
}
