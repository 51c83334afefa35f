// Package role dispatches the processes that bryo starts for itself. It exists
// so that main stays a table of contents.
package role

import (
	"fmt"
	"os"

	"bryo/internal/images"
	"bryo/internal/images/server"
	"bryo/internal/supervisor"
)

// Main runs the role and returns the process's exit code.
func Main(name string) int {
	switch name {
	case images.Role:
		return server.Main()
	case supervisor.Role:
		return supervisor.Main()
	}
	fmt.Fprintf(os.Stderr, "bryo: unknown role %q\n", name)
	return 125
}
