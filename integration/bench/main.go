// Command bench compares how long it takes to start a container that does
// nothing, with bryo, podman, crun, runc and bubblewrap: the same root files,
// the same static program, the same plain user, one after another in turn, so
// that a busy machine is busy for all of them. It prints medians and ratios and
// says which peers are missing or do not run here.
//
// Start reading at main; peers.go says how each peer is asked.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"bryo/integration/fixture"
)

func main() {
	rounds := flag.Int("n", 25, "rounds; each starts every peer once")
	login := flag.String("user", "bryo-test", "the plain user, when root runs this")
	flag.Parse()
	if err := run(*rounds, *login); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, login string) error {
	b, err := newBench(login)
	if err != nil {
		return err
	}
	defer b.close()
	b.printConditions(os.Stdout, rounds)
	var ready []*peer
	for _, p := range b.peers() {
		if problem := b.warm(p); problem != "" {
			fmt.Printf("%s: not compared: %s\n", p.name, problem)
			continue
		}
		ready = append(ready, p)
	}
	for range rounds {
		for _, p := range ready {
			took, err := b.once(p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			p.times = append(p.times, took)
		}
	}
	return print(os.Stdout, ready)
}

// bench is the place where all peers find their files.
type bench struct {
	dir  string // of the user, removed at the end
	bryo string
	set  *fixture.Set
	user *user.User
	env  []string
	undo []func()
}

func newBench(login string) (_ *bench, err error) {
	b := &bench{bryo: os.Getenv("BRYO_BIN")}
	if b.bryo == "" {
		b.bryo = "./bryo"
	}
	if b.user, err = user.Current(); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if out, err := exec.Command("integration/users").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make test users: %w: %s", err, out)
		}
		if b.user, err = user.Lookup(login); err != nil {
			return nil, err
		}
	}
	if b.dir, err = os.MkdirTemp("/var/tmp", "bryo-bench-"); err != nil {
		return nil, err
	}
	b.undo = append(b.undo, func() { os.RemoveAll(b.dir) })
	if err := b.fill(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// fill puts the binary, the images and the root directory where the user reads
// them.
func (b *bench) fill() error {
	cache := "/var/cache/bryo-test"
	if os.Geteuid() != 0 {
		home, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(home, "bryo-test")
	}
	var err error
	if b.set, err = fixture.Build(cache, "", "busybox"); err != nil {
		return err
	}
	if reason := b.set.Absent["busybox"]; reason != "" {
		return errors.New(reason)
	}
	for _, dir := range []string{"home/.config/containers", "run", "rootfs", "crun", "runc"} {
		if err := os.MkdirAll(filepath.Join(b.dir, dir), 0o700); err != nil {
			return err
		}
	}
	// On a fresh home old podman picks vfs, which copies; overlay is what it
	// uses elsewhere.
	if err := os.WriteFile(filepath.Join(b.dir, "home/.config/containers/storage.conf"), []byte("[storage]\ndriver = \"overlay\"\n"), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("cp", b.bryo, filepath.Join(b.dir, "bryo")).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if out, err := exec.Command("tar", "-C", filepath.Join(b.dir, "rootfs"), "--no-same-owner", "-xf", filepath.Join(b.set.Dir, "busybox-rootfs.tar")).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	b.env = []string{"HOME=" + b.dir + "/home", "XDG_RUNTIME_DIR=" + b.dir + "/run", "BRYO_ROOT=" + b.dir + "/home/bryo",
		"USER=" + b.user.Username, "LANG=C.UTF-8", "PATH=" + b.dir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if os.Geteuid() != 0 {
		return nil
	}
	b.undo = append(b.undo, cureHybridCgroups())
	if out, err := exec.Command("chown", "-R", b.user.Uid+":"+b.user.Gid, b.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// cureHybridCgroups: on a hybrid tree with a controller left on v2 crun refuses
// to start. A further v1 mount takes that controller away; it is undone after.
func cureHybridCgroups() func() {
	const dir = "/sys/fs/cgroup/hugetlb"
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &fs) != nil || fs.Type != unix.TMPFS_MAGIC {
		return func() {}
	}
	if _, err := os.Stat(dir); err == nil || os.Mkdir(dir, 0o755) != nil {
		return func() {}
	}
	if unix.Mount("cgroup", dir, "cgroup", 0, "hugetlb") != nil {
		os.Remove(dir)
		return func() {}
	}
	return func() {
		_ = unix.Unmount(dir, 0)
		os.Remove(dir)
	}
}

func (b *bench) close() {
	// The peers' stores hold files of subordinate ids: their user removes them.
	_ = b.command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", b.dir+"/home").Run()
	for _, f := range slices.Backward(b.undo) {
		f()
	}
}

// command as the plain user, in the clean environment.
func (b *bench) command(args ...string) *exec.Cmd {
	path := args[0]
	if !strings.Contains(path, "/") {
		if found, err := exec.LookPath(path); err == nil {
			path = found
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Env, cmd.Dir = b.env, b.dir
	if os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(b.user.Uid)
		gid, _ := strconv.Atoi(b.user.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return cmd
}

// warm prepares a peer and starts it a few times; it returns why it cannot be
// compared.
func (b *bench) warm(p *peer) string {
	if _, err := exec.LookPath(p.program); err != nil && p.program != "" {
		return "missing: apt-get install " + p.debian
	}
	for _, step := range p.prepare {
		if out, err := b.command(step...).CombinedOutput(); err != nil {
			return fmt.Sprintf("%s: %v: %s", strings.Join(step[:min(2, len(step))], " "), err, lastLine(out))
		}
	}
	if p.edit != nil {
		if err := p.edit(); err != nil {
			return err.Error()
		}
	}
	for range 3 {
		if _, err := b.once(p); err != nil {
			return err.Error()
		}
	}
	return ""
}

func (b *bench) once(p *peer) (time.Duration, error) {
	cmd := b.command(p.run...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, lastLine([]byte(complaint.String())))
	}
	return took, nil
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func (b *bench) printConditions(out io.Writer, rounds int) {
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Fprintf(out, "start of a container that runs true, %s, Linux %s, %d rounds in turn, warm, user %s\n",
		time.Now().UTC().Format(time.DateOnly), unix.ByteSliceToString(u.Release[:]), rounds, b.user.Username)
}

// print shows medians. The time that a bare process takes to start is taken off
// before the ratios are made: it is the same for all.
func print(out io.Writer, peers []*peer) error {
	floor := median(peers[0].times)
	var own time.Duration
	for _, p := range peers {
		if p.name == ownName {
			own = median(p.times) - floor
		}
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tmedian ms\tfastest\tslowest\ttimes bryo\t")
	for _, p := range peers {
		ratio := "-"
		if own > 0 && p.name != floorName {
			ratio = fmt.Sprintf("%.2f", float64(median(p.times)-floor)/float64(own))
		}
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t%s\t\n", p.name, ms(median(p.times)), ms(slices.Min(p.times)), ms(slices.Max(p.times)), ratio)
	}
	return table.Flush()
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
