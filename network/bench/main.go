// Command bench measures bryo's networking beside slirp4netns, pasta and
// RootlessKit in one interleaved run, with host loopback as the limit.
//
//	make bench-network
//	go run ./network/bench [-rounds 3] [-seconds 5] [-only bryo,pasta] [-metric publish]
//
// The first table is made in a user and network namespace of its own, which plays
// the host: nothing leaves it. Published ports are measured on the real host's
// loopback, and the start with the real binary (BRYO_BIN). Start reading at
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
		return all(args)
	}
	role, args := args[0], args[1:]
	switch role {
	case "world":
		return world(args)
	case "publisher":
		return publish(args)
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

// all prints three tables: from the container out, published ports, and what the
// default network adds to a start.
func all(args []string) error {
	flags := options()
	if err := flags.set.Parse(args); err != nil {
		return err
	}
	if err := enterWorld(args); err != nil {
		return err
	}
	if flags.wants("publish") {
		if err := measurePublished(*flags.only, *flags.rounds, *flags.seconds); err != nil {
			return err
		}
	}
	if !flags.wants("start") {
		return nil
	}
	return measureStart(7 * *flags.rounds)
}
