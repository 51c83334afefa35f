package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime/debug"
	"time"

	"bryo/network"
	"bryo/network/stack"
)

// supervise plays bryo's supervisor: root of its user namespace, in the
// host's network namespace. It prints the process that holds the container.
func supervise(args []string) error {
	ns, err := network.NewNamespace()
	if err != nil {
		return err
	}
	enter := func(fn func() error) error { return network.OnNamespace(int(ns.Fd()), fn) }
	box := exec.Command("/proc/self/exe", "pause")
	hold, err := box.StdinPipe()
	if err != nil {
		return err
	}
	defer hold.Close()
	if err := enter(box.Start); err != nil {
		return err
	}
	start := time.Now()
	s, err := stack.Open(stack.Config{
		Device:    "eth0",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.2.100/24"), netip.MustParsePrefix("fd62:7279:6f00::64/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("fd62:7279:6f00::2")},
	}, enter)
	if err != nil {
		return err
	}
	if os.Getenv("BENCH_DEBUG") != "" {
		fmt.Fprintln(os.Stderr, "attach took", time.Since(start))
	}
	debug.FreeOSMemory()
	fmt.Println(box.Process.Pid)
	<-s.Done()
	return s.Err()
}
