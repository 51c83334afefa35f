// Package ground is where the larger benchmarks run: a home of its own for a
// plain user, in a clean environment, with the peers set up as they would be
// elsewhere, all removed at the end.
package ground

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ground is one benchmark's place.
type Ground struct {
	Dir  string // of the user
	User *user.User
	Env  []string
	undo []func()
}

// New makes the place. login is the plain user when root runs the benchmark; else
// it is whoever runs it. The binary $BRYO_BIN is copied to DIR/bryo.
func New(login string) (_ *Ground, err error) {
	g := &Ground{}
	if g.User, err = user.Current(); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if out, err := exec.Command("integration/users").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make test users: %w: %s", err, out)
		}
		if g.User, err = user.Lookup(login); err != nil {
			return nil, err
		}
	}
	if g.Dir, err = os.MkdirTemp("/var/tmp", "bryo-bench-"); err != nil {
		return nil, err
	}
	g.Later(func() { os.RemoveAll(g.Dir) })
	if err := g.fill(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Ground) fill() error {
	for _, dir := range []string{"home/.config/containers", "run"} {
		if err := os.MkdirAll(filepath.Join(g.Dir, dir), 0o700); err != nil {
			return err
		}
	}
	// On a fresh home old podman picks vfs, which copies; overlay is what it
	// uses elsewhere.
	if err := os.WriteFile(filepath.Join(g.Dir, "home/.config/containers/storage.conf"), []byte("[storage]\ndriver = \"overlay\"\n"), 0o600); err != nil {
		return err
	}
	binary := os.Getenv("BRYO_BIN")
	if binary == "" {
		binary = "./bryo"
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for to, from := range map[string]string{"bryo": binary, "bench": self} {
		if out, err := exec.Command("cp", from, filepath.Join(g.Dir, to)).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	g.Env = []string{"HOME=" + g.Dir + "/home", "XDG_RUNTIME_DIR=" + g.Dir + "/run", "BRYO_ROOT=" + g.Dir + "/home/bryo",
		"USER=" + g.User.Username, "LANG=C.UTF-8", "PATH=" + g.Dir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if os.Geteuid() != 0 {
		return nil
	}
	if out, err := exec.Command("chown", "-R", g.User.Uid+":"+g.User.Gid, g.Dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Later is called by Close, the last one first.
func (g *Ground) Later(f func()) { g.undo = append(g.undo, f) }

// Close removes everything.
func (g *Ground) Close() {
	// The stores hold files of subordinate ids: their user removes them.
	_ = g.Inside("rm", "-rf", g.Dir+"/home").Run()
	g.endPause()
	for _, f := range slices.Backward(g.undo) {
		f()
	}
}

// endPause ends the process that podman leaves to keep its user namespace.
func (g *Ground) endPause() {
	text, err := os.ReadFile(filepath.Join(g.Dir, "run/libpod/tmp/pause.pid"))
	if pid, e := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && e == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Command is a program run as the plain user, in the clean environment.
func (g *Ground) Command(args ...string) *exec.Cmd {
	path := args[0]
	if !strings.Contains(path, "/") {
		if found, err := exec.LookPath(path); err == nil {
			path = found
		}
	}
	if args[0] == "bryo" || args[0] == "bench" {
		path = filepath.Join(g.Dir, args[0])
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Env, cmd.Dir = g.Env, g.Dir
	if os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(g.User.Uid)
		gid, _ := strconv.Atoi(g.User.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return cmd
}

// Inside is Command in a user namespace with all ids of the user.
func (g *Ground) Inside(args ...string) *exec.Cmd {
	return g.Command(append([]string{"unshare", "--user", "--map-root-user", "--map-auto"}, args...)...)
}

// Do runs a command that must succeed.
func (g *Ground) Do(args ...string) error {
	if out, err := g.Command(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args[:min(3, len(args))], " "), err, LastLine(out))
	}
	return nil
}

// Used is what a command took.
type Used struct {
	Wall, CPU time.Duration
	MaxRSS    int64 // bytes, of the largest process
}

// Time runs a command that must succeed and measures it with its children.
func (g *Ground) Time(args ...string) (Used, error) {
	cmd := g.Command(args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	start := time.Now()
	err := cmd.Run()
	used := Used{Wall: time.Since(start)}
	if err != nil {
		return used, fmt.Errorf("%s: %w: %s", strings.Join(args[:min(3, len(args))], " "), err, LastLine([]byte(complaint.String())))
	}
	used.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		used.MaxRSS = usage.Maxrss << 10
	}
	return used, nil
}

// LastLine is what a failed program said last.
func LastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// Median of the values; it sorts them.
func Median[T ~int64](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// Kernel's release.
func Kernel() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}

// CureHybridCgroups: on a hybrid tree with a controller left on v2 crun refuses
// to start. A further v1 mount takes that controller away; it is undone after.
func CureHybridCgroups() func() {
	const dir = "/sys/fs/cgroup/hugetlb"
	var fs unix.Statfs_t
	if os.Geteuid() != 0 || unix.Statfs("/sys/fs/cgroup", &fs) != nil || fs.Type != unix.TMPFS_MAGIC {
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
