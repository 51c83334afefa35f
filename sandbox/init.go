package sandbox

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runc/libcontainer"

	"bryo/sandbox/kernelfs"
	"bryo/sandbox/laststage"

	// The constructor that enters the namespaces before the Go runtime starts.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

// IsInit says whether this process is libcontainer's second stage.
func IsInit() bool {
	return len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITPIPE") != ""
}

// Init is the container init: it does not return. A first process waits until its
// supervisor has made ready what it needs: the Go runtime is up by then.
func Init() {
	if os.Getenv("_LIBCONTAINER_INITTYPE") == "standard" {
		begin()
	}
	libcontainer.Init()
}

// begin waits for the supervisor and does what is done before libcontainer's init.
func begin() {
	message, err := laststage.Await()
	if err == nil && len(message) > 0 {
		var view kernelfs.View
		if err = json.Unmarshal(message, &view); err == nil {
			err = view.Mount()
		}
	}
	if err != nil {
		laststage.GiveUp(err.Error())
		os.Exit(1)
	}
}
