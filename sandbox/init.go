package sandbox

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

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
		dieWithSupervisor()
		begin()
	}
	libcontainer.Init()
}

// dieWithSupervisor holds from here on, and not from the last stage on: in between the
// first process waits at a fifo that nobody else opens, with the stdio of the command,
// whose reader would wait with it. Before, the end of libcontainer's pipes ends it.
func dieWithSupervisor() {
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
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
