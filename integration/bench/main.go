// Command bench measures what bryo costs beside podman, crun, runc and
// bubblewrap: start, exec, a published port, many containers at once, memory, and
// what the binary itself weighs. The same root files, the same static program,
// the same plain user, one after another in turn, so that a busy machine is busy
// for all of them. It prints one table with ratios and says which peers are missing
// or do not run here.
//
// Start reading at run; peers.go says how each peer is asked. `make bench` runs the
// benchmark of pulling after it (package pull).
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bryo/integration/bench/ground"
	"bryo/integration/fixture"
)

func main() {
	o := options{}
	flag.IntVar(&o.rounds, "n", 30, "rounds of each measurement; each asks every peer once")
	flag.StringVar(&o.login, "user", "bryo-test", "the plain user, when root runs this")
	flag.StringVar(&o.only, "only", "", "the sections whose names are in this list: "+names())
	flag.BoolVar(&o.short, "short", false, "fewer rounds and containers: about three minutes")
	flag.Parse()
	if o.short {
		o.rounds = min(o.rounds, 15)
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds      int
	login, only string
	short       bool
}

// section is one part of the table.
type section struct {
	name    string
	measure func(*bench) error
}

var sections = []section{
	{"start", (*bench).start}, {"store", (*bench).crowdedStore}, {"exec", (*bench).exec}, {"port", (*bench).port},
	{"many", (*bench).many}, {"memory", (*bench).memory}, {"scale", (*bench).scale}, {"binary", (*bench).binary},
}

func names() string {
	var list []string
	for _, s := range sections {
		list = append(list, s.name)
	}
	return strings.Join(list, ",")
}

func run(o options) error {
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Printf("%s, Linux %s, user %s, %d rounds in turn, warm, medians\n", time.Now().UTC().Format(time.DateOnly), ground.Kernel(), b.User.Username, o.rounds)
	for _, s := range sections {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+s.name+",") {
			continue
		}
		if err := s.measure(b); err != nil {
			b.table.note("%s: %v", s.name, err)
		}
		b.removeAll()
	}
	return b.table.print(os.Stdout)
}

// bench is the place where all peers find their files.
type bench struct {
	*ground.Ground
	options
	set    *fixture.Set
	table  table
	podman func() error // makes it ready once; why it cannot be compared
}

// image is what all of them run: busybox, 2 MB.
const image = "example.org/from-archive:1"

func newBench(o options) (_ *bench, err error) {
	b := &bench{options: o}
	b.podman = sync.OnceValue(b.preparePodman)
	cache := "/var/cache/bryo-test"
	if os.Geteuid() != 0 {
		home, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		cache = filepath.Join(home, "bryo-test")
	}
	if b.set, err = fixture.Build(cache, "", "busybox"); err != nil {
		return nil, err
	}
	if reason := b.set.Absent["busybox"]; reason != "" {
		return nil, errors.New(reason)
	}
	if b.Ground, err = ground.New(o.login); err != nil {
		return nil, err
	}
	if err := b.fill(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// fill puts image and root directory where the user's programs read them.
func (b *bench) fill() error {
	b.Later(ground.CureHybridCgroups())
	if err := b.Do("mkdir", "rootfs", "crun", "runc"); err != nil {
		return err
	}
	rootfs := filepath.Join(b.set.Dir, "busybox-rootfs.tar")
	if err := b.Do("tar", "-C", filepath.Join(b.Dir, "rootfs"), "--no-same-owner", "-xf", rootfs); err != nil {
		return err
	}
	return b.Do("bryo", "load", "-q", "-i", b.archive())
}

func (b *bench) archive() string { return filepath.Join(b.set.Dir, "busybox-docker.tar") }

// removeAll ends what a section has started.
func (b *bench) removeAll() {
	for _, program := range []string{"bryo", "podman"} {
		if ids, err := b.Command(program, "ps", "-aq").Output(); err == nil && len(ids) > 0 {
			_ = b.Command(append([]string{program, "rm", "-f"}, strings.Fields(string(ids))...)...).Run()
		}
	}
}
