// Command bryo runs OCI containers without root, daemon or helper programs.
//
// One binary plays several roles: the command line that the user typed, and the
// roles that it starts for itself inside a user namespace.
package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"bryo/internal/cli"
	"bryo/internal/linux"
	"bryo/internal/role"
	"bryo/internal/trace"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

func main() {
	linux.GrowStack()
	if sandbox.IsInit() {
		sandbox.Init()
	}
	if name := userns.Role(); name != "" {
		os.Exit(role.Main(name))
	}
	userns.PlainQuit()
	if userns.HasTwin() {
		// It needs the processors more: what this process does at once with it is one
		// thing after the other, and threads that look for work would be in its way.
		runtime.GOMAXPROCS(1)
	}
	// A command line is over before a collection would pay; the limit is for the
	// few that read much.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(128 << 20)
	trace.Start("cli", userns.Began())
	os.Exit(cli.Main(os.Args))
}
