package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bryo/network"
	"bryo/network/port"
)

// Published ports are measured on the real host's loopback, since RootlessKit
// needs subordinate ids, which the playing host has not: iperf3 serves in the
// container and is asked from the host.

// publisher starts an iperf3 server in a container behind a port of the host's
// loopback.
type publisher struct {
	name  string
	start func(port string) (stop func(), err error)
}

const innerPort = "5201"

func publishers() []publisher {
	return []publisher{
		{"host", func(p string) (func(), error) { return running("iperf3", "-s", "-B", "127.0.0.1", "-p", p) }},
		{"slirp4netns", func(p string) (func(), error) { return rootlesskit("slirp4netns", p) }},
		{"rootlesskit", func(p string) (func(), error) { return rootlesskit("builtin", p) }},
		{"pasta", func(p string) (func(), error) {
			return running("pasta", "--config-net", "--quiet", "-t", "127.0.0.1/"+p+":"+innerPort, "-u", "none", "-T", "none", "-U", "none", "--", "iperf3", "-s")
		}},
		{"bryo", func(p string) (func(), error) {
			sup, _, err := child(syscall.CLONE_NEWUSER, "publisher", p)
			if err != nil {
				return nil, err
			}
			return func() { end(sup) }, nil
		}},
	}
}

// rootlesskit publishes with one of its port drivers.
func rootlesskit(driver, p string) (func(), error) {
	return running("rootlesskit", "--net=slirp4netns", "--mtu=65520", "--disable-host-loopback", "--port-driver="+driver,
		"--publish", "127.0.0.1:"+p+":"+innerPort+"/tcp", "iperf3", "-s")
}

// limited is the output of a program that may not take longer: a peer that spins
// must not end the whole measurement.
func limited(most time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return exec.CommandContext(ctx, name, args...).Output()
}

// running starts a program in a process group of its own.
func running(args ...string) (func(), error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Getenv("BENCH_DEBUG") != "" {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() { end(cmd) }, nil
}

func end(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	time.Sleep(100 * time.Millisecond)
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// measurePublished takes both directions of every publisher once per round.
func measurePublished(only string, rounds, seconds int) error {
	results := map[string][]float64{}
	for range rounds {
		for _, p := range publishers() {
			if only != "" && !strings.Contains(","+only+",", ","+p.name+",") {
				continue
			}
			for _, reverse := range []bool{false, true} {
				v, err := publishedOnce(p, seconds, reverse)
				if err != nil {
					fmt.Fprintf(os.Stderr, "%s published: %v\n", p.name, err)
					continue
				}
				key := p.name + " -p in"
				if reverse {
					key = p.name + " -p out"
				}
				results[key] = append(results[key], v)
			}
		}
	}
	var ps []peer
	for _, p := range publishers() {
		ps = append(ps, peer{name: p.name})
	}
	fmt.Println()
	print(chosen(ps, only), []metric{{name: "-p in", unit: "Gbit/s"}, {name: "-p out", unit: "Gbit/s"}}, results)
	return nil
}

func publishedOnce(p publisher, seconds int, reverse bool) (float64, error) {
	number, err := freePort()
	if err != nil {
		return 0, err
	}
	stop, err := p.start(number)
	if err != nil {
		return 0, err
	}
	defer stop()
	args := []string{"-c", "127.0.0.1", "-p", number, "-J", "-t", strconv.Itoa(seconds)}
	if reverse {
		args = append(args, "-R")
	}
	// Some publish before the server is there: iperf3 then reports nothing.
	for range 50 {
		out, err := limited(time.Duration(seconds+10)*time.Second, "iperf3", args...)
		if rate, _ := received(out); err == nil && rate > 0 {
			return rate, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0, fmt.Errorf("iperf3 reached no server at port %s", number)
}

// received reads iperf3's report, in Gbit/s.
func received(report []byte) (float64, error) {
	var r struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	err := json.Unmarshal(report, &r)
	return r.End.Received.Bits / 1e9, err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// publish plays bryo's supervisor with a published port: the default network, the
// port's set, and iperf3 as the container's program.
func publish(args []string) error {
	m, err := port.Parse("127.0.0.1:" + args[0] + ":" + innerPort)
	if err != nil {
		return err
	}
	set, err := port.Open(m, nil)
	if err != nil {
		return err
	}
	ns, err := network.NewNamespace()
	if err != nil {
		return err
	}
	a, err := network.Default{}.Attach(context.Background(), ns, network.Config{})
	if err != nil {
		return err
	}
	enter := func(fn func() error) error { return network.OnNamespace(int(ns.Fd()), fn) }
	t := port.Target{Namespace: ns, Enter: enter, Gateways: a.Gateways()}
	for _, p := range a.Addresses() {
		t.Addresses = append(t.Addresses, p.Addr())
	}
	if err := set.Serve(t); err != nil {
		return err
	}
	server := exec.Command("iperf3", "-s")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ready := make(chan error)
	go func() { _ = enter(func() error { ready <- server.Start(); select {} }) }()
	if err := <-ready; err != nil {
		return err
	}
	fmt.Println("ready")
	<-a.Done()
	return a.Err()
}
