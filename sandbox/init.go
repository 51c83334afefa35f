package sandbox

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"

	// The constructor that enters the namespaces before the Go runtime starts.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

// IsInit says whether this process is libcontainer's second stage.
func IsInit() bool {
	return len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITPIPE") != ""
}

// Init is the container init: it does not return.
func Init() { libcontainer.Init() }
