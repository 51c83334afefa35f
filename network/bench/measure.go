package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A metric is one number that a load prints for one peer.
type metric struct {
	name, unit string
	measure    func(container int) (float64, error)
}

// choices are the command line.
type choices struct {
	set             *flag.FlagSet
	rounds, seconds *int
	only, what      *string
}

func options() choices {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	return choices{
		set: set, rounds: set.Int("rounds", 3, "interleaved rounds; the tables show medians"),
		seconds: set.Int("seconds", 5, "length of each throughput run"),
		only:    set.String("only", "", "comma-separated peers"),
		what:    set.String("metric", "", "comma-separated metrics; publish and start stand for the other tables"),
	}
}

func (c choices) wants(metric string) bool {
	return *c.what == "" || slices.Contains(strings.Split(*c.what, ","), metric)
}

func world(args []string) error {
	o := options()
	if err := o.set.Parse(args); err != nil {
		return err
	}
	rounds, seconds, only, what := o.rounds, o.seconds, o.only, o.what
	if *what == "publish" || *what == "start" {
		return nil
	}
	if err := buildHost(); err != nil {
		return err
	}
	stop, err := startServers()
	if err != nil {
		return err
	}
	defer stop()
	metrics := []metric{
		{"out", "Gbit/s", throughput(*seconds, false)},
		{"in", "Gbit/s", throughput(*seconds, true)},
		{"ping-pong", "us", number("ping", target4+":7001", "10000")},
		{"connections", "1/s", rate},
	}
	return measure(chosen(peers(), *only), wanted(metrics, *what), *rounds)
}

func chosen(all []peer, names string) []peer {
	return slices.DeleteFunc(all, func(p peer) bool {
		return names != "" && !slices.Contains(strings.Split(names, ","), p.name)
	})
}

func wanted(all []metric, names string) []metric {
	return slices.DeleteFunc(all, func(m metric) bool {
		return names != "" && !slices.Contains(strings.Split(names, ","), m.name)
	})
}

// startServers runs what the loads talk to, on the playing host.
func startServers() (func(), error) {
	echo, _, err := child(0, "serve", "0.0.0.0:7001")
	if err != nil {
		return nil, err
	}
	iperf := exec.Command("iperf3", "-s", "-B", target4)
	iperf.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := iperf.Start(); err != nil {
		return nil, err
	}
	time.Sleep(200 * time.Millisecond)
	return func() { echo.Process.Kill(); iperf.Process.Kill() }, nil
}

// measure takes every metric of every peer once per round, so that a slow
// phase of the machine hits all of them, and prints medians.
func measure(ps []peer, ms []metric, rounds int) error {
	results := map[string][]float64{}
	for range rounds {
		for _, p := range ps {
			container, carrier, stop, err := p.start()
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", p.name, err)
				continue
			}
			if carrier != 0 {
				results[p.name+" rss"] = append(results[p.name+" rss"], rss(carrier))
			}
			for _, m := range ms {
				v, err := m.measure(container)
				if err != nil {
					fmt.Fprintf(os.Stderr, "%s %s: %v\n", p.name, m.name, err)
					continue
				}
				results[p.name+" "+m.name] = append(results[p.name+" "+m.name], v)
			}
			stop()
		}
	}
	print(ps, append(ms, metric{name: "rss", unit: "MB idle"}), results)
	return nil
}

func print(ps []peer, ms []metric, results map[string][]float64) {
	fmt.Printf("%-14s", "")
	for _, m := range ms {
		fmt.Printf("%20s", m.name+" "+m.unit)
	}
	fmt.Println()
	for _, p := range ps {
		fmt.Printf("%-14s", p.name)
		for _, m := range ms {
			fmt.Printf("%20s", median(results[p.name+" "+m.name]))
		}
		fmt.Println()
	}
}

func median(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	slices.Sort(v)
	return strconv.FormatFloat(v[len(v)/2], 'f', 2, 64)
}

// throughput runs iperf3 from the container (or towards it).
func throughput(seconds int, reverse bool) func(int) (float64, error) {
	return func(container int) (float64, error) {
		args := []string{"iperf3", "-c", target4, "-J", "-t", strconv.Itoa(seconds)}
		if reverse {
			args = append(args, "-R")
		}
		out, err := inside(container, args...)
		if err != nil {
			return 0, err
		}
		return received([]byte(out))
	}
}

// number runs a role of this program in the container and reads its number.
func number(role ...string) func(int) (float64, error) {
	return func(container int) (float64, error) {
		out, err := inside(container, append([]string{self()}, role...)...)
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(out, 64)
	}
}

// rate is the number of connections per second to an address that no
// measurement before it had: what those left in TIME-WAIT takes no port of it,
// or each peer would be slower than the one before.
func rate(container int) (float64, error) {
	measured = measured%250 + 1
	to := netip.AddrFrom4([4]byte{10, 99, 0, byte(measured)})
	return number("connect", netip.AddrPortFrom(to, 7001).String(), "3000")(container)
}

var measured int

func self() string {
	p, _ := os.Executable()
	return p
}

// rss reads the resident set of a process in MB.
func rss(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb / 1024
		}
	}
	return 0
}
