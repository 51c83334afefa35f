package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A peer connects one container to the playing host.
type peer struct {
	name string
	// start returns the process whose namespaces are the container's (0: the
	// host itself), the process that carries the packets, and how to end both.
	start func() (container int, carrier int, stop func(), err error)
}

func peers() []peer {
	return []peer{
		{"host", func() (int, int, func(), error) { return 0, 0, func() {}, nil }},
		{"slirp4netns", func() (int, int, func(), error) {
			return helper("slirp4netns", "--configure", "--disable-host-loopback", "--mtu=65520", "--enable-ipv6", "--enable-seccomp", "PID", "tap0")
		}},
		{"pasta", func() (int, int, func(), error) {
			return helper("pasta", "--config-net", "--foreground", "--quiet", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none", "PID")
		}},
		{"bryo", startBryo},
	}
}

// helper starts a program that carries packets for a container that sleeps.
func helper(args ...string) (int, int, func(), error) {
	if _, err := exec.LookPath(args[0]); err != nil {
		return 0, 0, nil, fmt.Errorf("missing: %w", err)
	}
	box, _, err := child(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNET, "pause")
	if err != nil {
		return 0, 0, nil, err
	}
	for i, a := range args {
		if a == "PID" {
			args[i] = strconv.Itoa(box.Process.Pid)
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getenv("BENCH_DEBUG") != "" {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, nil, err
	}
	stop := func() {
		cmd.Process.Kill()
		cmd.Wait()
		box.Process.Kill()
		box.Wait()
	}
	if err := waitRoute(box.Process.Pid); err != nil {
		stop()
		return 0, 0, nil, err
	}
	return box.Process.Pid, cmd.Process.Pid, stop, nil
}

// waitRoute waits until the container has a default route.
func waitRoute(pid int) error {
	for range 200 {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/route", pid))
		if strings.Contains(string(b), "\t00000000\t") {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("no default route after 2 s")
}

func startBryo() (int, int, func(), error) {
	sup, line, err := child(syscall.CLONE_NEWUSER, "supervisor")
	if err != nil {
		return 0, 0, nil, err
	}
	pid, err := strconv.Atoi(line)
	if err != nil {
		sup.Process.Kill()
		return 0, 0, nil, fmt.Errorf("supervisor: %q", line)
	}
	return pid, sup.Process.Pid, func() { sup.Process.Kill(); sup.Wait() }, nil
}
