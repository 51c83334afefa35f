// Package role dispatches the processes that bryo starts for itself. It exists
// so that main stays a table of contents.
package role

import (
	"fmt"
	"os"

	"bryo/internal/hostinfo"
	"bryo/internal/images"
	"bryo/internal/images/trees"
	"bryo/internal/supervisor"
	"bryo/network/bridge"
)

// Main runs the role and returns the process's exit code.
func Main(name string) int {
	switch name {
	case images.TreeRole:
		return trees.Main()
	case supervisor.Role:
		return supervisor.Main()
	case bridge.Role:
		return bridge.Main()
	case bridge.RouterRole:
		return bridge.RouterMain()
	case hostinfo.ProbeRole:
		return probe()
	}
	fmt.Fprintf(os.Stderr, "bryo: unknown role %q\n", name)
	return 125
}

// probe tries one feature of the host in a namespace that doctor made for it.
func probe() int {
	if len(os.Args) != 3 {
		return 125
	}
	if err := hostinfo.Probe(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
