// Command bench measures bryo's networking beside slirp4netns, pasta and
// RootlessKit in one interleaved run, with host loopback as the limit.
//
//	go run ./network/bench [-rounds 3] [-seconds 5] [-only bryo,pasta]
//
// The program starts itself again in a user and network namespace of its own,
// which plays the host; nothing leaves that namespace. Start reading at
// measure. It leaves out what needs real hardware: no figure here says
// anything about a real network card.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run dispatches on the role: the first process has none, its children name
// theirs in the first argument.
func run(args []string) error {
	if len(args) == 0 || args[0][0] == '-' {
		return enterWorld(args)
	}
	role, args := args[0], args[1:]
	switch role {
	case "world":
		return world(args)
	case "pause":
		return pause()
	case "supervisor":
		return supervise(args)
	case "serve":
		return serve(args)
	case "ping":
		return ping(args)
	case "connect":
		return connect(args)
	}
	return fmt.Errorf("unknown role %s", role)
}
