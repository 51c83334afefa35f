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
	verb := flag.String("verb", "", "pull, save or push alone; the last two pull before they are measured")
	mine := flag.Bool("mine", false, "bryo alone")
	values := flag.String("values", "", "a file that keeps what was measured; the medians are of all that it has")
	lock := flag.String("lock", "", "a file whose lock is held while a command is measured: for other work to wait")
	serve := flag.Bool("serve", false, "push the images, name them and wait: for a profile")
	dir := flag.String("list", "", "list a directory for the comparison, nothing else")
	flag.Parse()
	var err error
	if *dir != "" {
		err = list(os.Stdout, *dir)
	} else {
		err = run(options{*rounds, *login, *only, *verb, *values, *lock, *mine, *serve})
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
	rounds            int
	login, only, verb string
	values, lock      string
	mine, serve       bool
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
		if err := measure(g, s, ref, registry.Dir, empty.Address, o); err != nil {
			return err
		}
	}
	if o.serve {
		select {}
	}
	return nil
}

func measure(g *ground.Ground, s sample, ref, served, empty string, o options) error {
	tasks := tasksFor(s, ref, empty, o.mine)
	if err := readValues(o.values, s.name, tasks); err != nil {
		return err
	}
	for round := range o.rounds {
		store := func(program string) string { return fmt.Sprintf("%s/home/%s-%s-%d", g.Dir, s.name, program, round) }
		for _, t := range inTurn(tasks, round) {
			if o.verb != "" && t.verb != "pull" && t.verb != o.verb {
				continue
			}
			used, err := alone(o.lock, served, func() (ground.Used, error) { return g.Time(t.command(store(t.program))...) })
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			t.used = append(t.used, used)
			if err := keepValue(o.values, s.name, t); err != nil {
				return err
			}
		}
		if round == 0 && !o.mine && hasPeer("podman") {
			entries, err := compare(g, store("bryo")+"/storage", store("podman"))
			if err != nil {
				return fmt.Errorf("%s: the trees differ: %w", s.name, err)
			}
			fmt.Printf("%s: %d entries are the same in both stores\n", s.name, entries)
		}
	}
	return print(s, tasks)
}

// inTurn changes in every round who is first, verb by verb: what comes after a
// command that left dirty pages is slower.
func inTurn(tasks []*task, round int) []*task {
	var out []*task
	for len(tasks) > 0 {
		n := slices.IndexFunc(tasks, func(t *task) bool { return t.verb != tasks[0].verb })
		if n < 0 {
			n = len(tasks)
		}
		for i := range n {
			out = append(out, tasks[(i+round)%n])
		}
		tasks = tasks[n:]
	}
	return out
}

// alone measures one command from a settled start, while it holds the lock.
func alone(lock, served string, command func() (ground.Used, error)) (ground.Used, error) {
	if lock != "" {
		file, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return ground.Used{}, err
		}
		defer file.Close()
		time.Sleep(50 * time.Millisecond) // who waited gets it first
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			return ground.Used{}, fmt.Errorf("lock %s: %w", lock, err)
		}
	}
	if err := settle(served); err != nil {
		return ground.Used{}, err
	}
	return command()
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
	fmt.Fprintln(table, s.name+"\trounds\tmedian s\tquartiles\tCPU s\tMiB\ttimes bryo\t")
	for _, t := range tasks {
		if len(t.used) == 0 {
			continue
		}
		var wall, cpu []time.Duration
		var memory []int64
		for _, used := range t.used {
			wall, cpu, memory = append(wall, used.Wall), append(cpu, used.CPU), append(memory, used.MaxRSS)
		}
		took := ground.Median(wall) // sorts
		if t.program == "bryo" {
			own[t.verb] = took
		}
		fmt.Fprintf(table, "%s %s\t%d\t%.2f\t%.2f-%.2f\t%.2f\t%d\t%.2f\t\n", t.program, t.verb, len(wall), took.Seconds(), wall[len(wall)/4].Seconds(), wall[len(wall)*3/4].Seconds(),
			ground.Median(cpu).Seconds(), ground.Median(memory)>>20, float64(took)/float64(own[t.verb]))
	}
	return table.Flush()
}

// keepValue appends the last measurement to the file of values, which is how one
// table comes of several runs, each on a fresh file system.
func keepValue(path, sample string, t *task) error {
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	used := t.used[len(t.used)-1]
	_, err = fmt.Fprintln(file, sample, t.program, t.verb, int64(used.Wall), int64(used.CPU), used.MaxRSS)
	return err
}

// readValues gives the tasks what earlier runs have kept.
func readValues(path, sample string, tasks []*task) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var name, program, verb string
		var used ground.Used
		if _, err := fmt.Sscan(line, &name, &program, &verb, &used.Wall, &used.CPU, &used.MaxRSS); err != nil {
			return fmt.Errorf("values %s: %q: %w", path, strings.TrimSpace(line), err)
		}
		for _, t := range tasks {
			if name == sample && program == t.program && verb == t.verb {
				t.used = append(t.used, used)
			}
		}
	}
	return nil
}
