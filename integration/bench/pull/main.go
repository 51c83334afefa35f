// Command pull compares how long bryo, podman and skopeo take to pull an image
// from a registry on loopback into a store, one after another in turn, and to
// push and save it: one layer of 200 MB and eight of 670 MB together, gzip and
// zstd. It compares what bryo and podman have unpacked entry by entry.
//
// Start reading at run; images.go makes the images, tree.go compares.
package main

import (
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"bryo/integration/bench/ground"
	"bryo/integration/fixture"
)

func main() {
	rounds := flag.Int("n", 3, "rounds; each lets every program pull every image once")
	login := flag.String("user", "bryo-test", "the plain user, when root runs this")
	only := flag.String("only", "", "the samples whose names contain this")
	mine := flag.Bool("mine", false, "bryo alone")
	serve := flag.Bool("serve", false, "push the images, name them and wait: for a profile")
	dir := flag.String("list", "", "list a directory for the comparison, nothing else")
	flag.Parse()
	var err error
	if *dir != "" {
		err = list(os.Stdout, *dir)
	} else {
		err = run(options{*rounds, *login, *only, *mine, *serve})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// task is one thing that is measured of one program. Each pull goes to a store
// of its own: right after a removal ext4 looks long for inodes to use again, and
// that would be measured instead.
type task struct {
	program string
	verb    string
	command func(store string) []string
	used    []ground.Used
}

type options struct {
	rounds      int
	login, only string
	mine, serve bool
}

func run(o options) error {
	g, err := ground.New(o.login)
	if err != nil {
		return err
	}
	defer g.Close()
	registry, err := fixture.StartRegistry(filepath.Join(g.Dir, "registry"), fixture.RegistryOptions{})
	if err != nil {
		return err
	}
	defer registry.Stop()
	// What is pushed goes to a registry that has none of it.
	empty, err := fixture.StartRegistry(filepath.Join(g.Dir, "empty"), fixture.RegistryOptions{})
	if err != nil {
		return err
	}
	defer empty.Stop()
	fmt.Printf("pull, push and save over loopback, %s, Linux %s, %d rounds in turn, user %s\n",
		time.Now().UTC().Format(time.DateOnly), ground.Kernel(), o.rounds, g.User.Username)
	for _, s := range samples {
		if !strings.Contains(s.name, o.only) {
			continue
		}
		ref, err := s.push(registry.Address, g.Dir)
		if err != nil {
			return err
		}
		if o.serve {
			fmt.Println(ref)
			continue
		}
		if err := measure(g, s, ref, registry.Dir, empty.Address, o.rounds, o.mine); err != nil {
			return err
		}
	}
	if o.serve {
		select {}
	}
	return nil
}

func measure(g *ground.Ground, s sample, ref, served, empty string, rounds int, mine bool) error {
	tasks := tasksFor(s, ref, empty, mine)
	for round := range rounds {
		store := func(program string) string { return fmt.Sprintf("%s/home/%s-%s-%d", g.Dir, s.name, program, round) }
		for _, t := range tasks {
			if err := settle(served); err != nil {
				return err
			}
			used, err := g.Time(t.command(store(t.program))...)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			t.used = append(t.used, used)
		}
		if round == 0 && !mine && hasPeer("podman") {
			entries, err := compare(g, store("bryo")+"/storage", store("podman"))
			if err != nil {
				return fmt.Errorf("%s: the trees differ: %w", s.name, err)
			}
			fmt.Printf("%s: %d entries are the same in both stores\n", s.name, entries)
		}
	}
	return print(s, tasks)
}

// settle lets every command begin alike: nothing is waiting for the disk, and, if
// root runs this, memory is free but for what the registry serves. Else the page
// cache of the last stores drives each command into memory that a virtual machine
// has never touched, which is up to three times slower for all of them.
func settle(served string) error {
	unix.Sync()
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200); err != nil {
		return nil // not in a container
	}
	return filepath.WalkDir(served, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(io.Discard, file)
		return err
	})
}

// tasksFor names what is measured, podman and skopeo with the overlay driver: on
// a fresh home old versions take vfs, which copies.
func tasksFor(s sample, ref, empty string, mine bool) []*task {
	// Each push sends everything: to a repository of its own, and without the peers'
	// memory of which other repository has a blob.
	pushed := func(store string) string { return empty + "/" + filepath.Base(store) + ":1" }
	forgetful := func(store string, args ...string) []string {
		return append([]string{"env", "XDG_DATA_HOME=" + store + ".data"}, args...)
	}
	podman := func(store string, args ...string) []string {
		return append([]string{"podman", "--storage-driver", "overlay", "--root", store, "--runroot", runRoot(store)}, args...)
	}
	tasks := []*task{
		{program: "bryo", verb: "pull", command: func(store string) []string {
			return []string{"bryo", "--root", store, "pull", "-q", ref}
		}},
		{program: "skopeo", verb: "pull", command: func(store string) []string {
			return []string{"skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + ref, "containers-storage:[overlay@" + store + "+" + runRoot(store) + "]" + ref}
		}},
		{program: "podman", verb: "pull", command: func(store string) []string {
			return podman(store, "pull", "-q", "--tls-verify=false", ref)
		}},
		{program: "bryo", verb: "save", command: func(store string) []string {
			return []string{"bryo", "--root", store, "save", "-o", store + ".tar", ref}
		}},
		{program: "podman", verb: "save", command: func(store string) []string {
			return podman(store, "save", "-q", "-o", store+".tar", ref)
		}},
		{program: "bryo", verb: "push", command: func(store string) []string {
			return []string{"sh", "-c", `bryo --root "$0" tag "$1" "$2" && exec bryo --root "$0" push -q "$2"`, store, ref, pushed(store)}
		}},
		{program: "skopeo", verb: "push", command: func(store string) []string {
			return forgetful(store, "skopeo", "copy", "-q", "--dest-tls-verify=false", "containers-storage:[overlay@"+store+"+"+runRoot(store)+"]"+ref, "docker://"+pushed(store))
		}},
		{program: "podman", verb: "push", command: func(store string) []string {
			return forgetful(store, podman(store, "push", "-q", "--tls-verify=false", ref, pushed(store))...)
		}},
	}
	return slices.DeleteFunc(tasks, func(t *task) bool {
		// podman saves no zstd layers as a docker archive.
		return t.program != "bryo" && (mine || !hasPeer(t.program)) || t.program == "podman" && t.verb == "save" && s.zstd
	})
}

// runRoot is short: podman takes 50 characters.
func runRoot(store string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(store)), "run", fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(store))))
}

func hasPeer(name string) bool { _, err := exec.LookPath(name); return err == nil }

func print(s sample, tasks []*task) error {
	own := map[string]time.Duration{}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, s.name+"\tmedian s\tCPU s\tMiB\ttimes bryo\t")
	for _, t := range tasks {
		var wall, cpu []time.Duration
		var memory []int64
		for _, used := range t.used {
			wall, cpu, memory = append(wall, used.Wall), append(cpu, used.CPU), append(memory, used.MaxRSS)
		}
		took := ground.Median(wall)
		if t.program == "bryo" {
			own[t.verb] = took
		}
		fmt.Fprintf(table, "%s %s\t%.2f\t%.2f\t%d\t%.2f\t\n", t.program, t.verb, took.Seconds(), ground.Median(cpu).Seconds(), ground.Median(memory)>>20, float64(took)/float64(own[t.verb]))
	}
	return table.Flush()
}
