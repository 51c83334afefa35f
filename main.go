// Command bryo runs OCI containers without root, daemon or helper programs.
//
// One binary plays several roles: the command line that the user typed, and the
// roles that it starts for itself inside a user namespace.
package main

import (
	"os"

	"bryo/internal/cli"
	"bryo/internal/role"
	"bryo/internal/trace"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

func main() {
	if sandbox.IsInit() {
		sandbox.Init()
	}
	if name := userns.Role(); name != "" {
		os.Exit(role.Main(name))
	}
	trace.Start("cli")
	os.Exit(cli.Main(os.Args))
}
