package integration

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestSubordinateIDs(t *testing.T) { runScripts(t, modeFull, nil) }

func TestSingleUID(t *testing.T) { runScripts(t, modeSingle, nil) }

// TestRoot: uid 0 runs bryo as any other user does; some scripts suffice.
func TestRoot(t *testing.T) {
	runScripts(t, modeRoot, []string{"hello", "doctor", "cp", "pull_kinds", "images", "load", "login", "run_binds", "run_caps", "run_exit",
		"strangers", "kill_verbs", "kill_images", "kill_stores", "faults", "faults_verbs", "net_user", "net_user_faults", "check_network",
		"run_inside", "run_user", "volume", "pipes", "signals", "terminal", "nested", "life_verbs", "kill_points", "run_network", "ports",
		"cp_race", "commit", "push", "power_loss",
		"bypass", "bypass_networks", "no_tun", "bypass_ports", "bypass_inside", "bypass_attack", "bypass_ipv6"})
}

func runScripts(t *testing.T, mode string, names []string) {
	if got := os.Getenv(envMode); got != mode {
		t.Skipf("this user has %s ids; root runs the scripts as both kinds of user", got)
	}
	deadline, _ := t.Deadline()
	dir := filepath.Join(os.Getenv(envStage), "scripts")
	var files []string
	for _, name := range names {
		files = append(files, filepath.Join(dir, name+".txtar"))
	}
	if files != nil {
		dir = ""
	}
	testscript.RunT(script{t}, testscript.Params{
		Dir:         dir,
		Files:       files,
		WorkdirRoot: filepath.Join(os.Getenv(envStage), mode),
		Setup:       setup,
		Cmds:        commands(),
		Condition:   condition,
		Deadline:    deadline,
		// BRYO_IT_ALL shows every failing line of a script, not the first.
		ContinueOnError: os.Getenv("BRYO_IT_ALL") != "",
	})
}

// setup gives each script a clean environment: a home, a data root and a
// folder for temporary files of its own.
func setup(env *testscript.Env) error {
	for _, dir := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(env.WorkDir, dir), 0o700); err != nil {
			return err
		}
	}
	stage := os.Getenv(envStage)
	env.Vars = []string{
		"WORK=" + env.WorkDir,
		"PATH=" + stage + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + env.WorkDir + "/home",
		"TMPDIR=" + env.WorkDir + "/tmp",
		"BRYO_ROOT=" + env.WorkDir + "/root",
		"USER=" + os.Getenv("USER"),
		"LANG=C.UTF-8", "TERM=xterm",
		"UID=" + strconv.Itoa(os.Getuid()), "GID=" + strconv.Itoa(os.Getgid()),
		"STAGE=" + stage,
		"FIXTURES=" + os.Getenv(envFixtures),
		"REGISTRY=" + os.Getenv(envRegistry),
		"BUSYBOX=" + os.Getenv(envRegistry) + "/busybox",
		"MODE=" + os.Getenv(envMode),
		"NET_LOAD=" + os.Getenv("BRYO_NET_LOAD"),
		// "50ms": supervisors rest whenever they can, in every script.
		"BRYO_REST=" + os.Getenv("BRYO_REST"),
		"KILL_POINTS=" + os.Getenv("BRYO_KILL_POINTS"),
		// Of each race: 120 decide nothing by chance, CI has no time for that.
		"ATTACK_SECONDS=" + cmp.Or(os.Getenv("BRYO_ATTACK_SECONDS"), "3"),
	}
	return nil
}

// allowedSkips are the reasons for which CI may skip a script. Everything else
// that is missing there is a failure of the set-up.
var allowedSkips = []string{
	"several ids are needed",
	"single-uid mode only",
	"no delegated cgroup v2",
	"no loop devices",
	"this machine has no IPv6 address",
}

// script is what testscript asks of a test. It keeps scripts of one user from
// running side by side, so that what a script leaves behind is its own.
type script struct{ *testing.T }

func (s script) Parallel()     {}
func (s script) Verbose() bool { return false }

func (s script) Skip(args ...any) {
	reason := strings.TrimSpace(fmt.Sprintln(args...))
	if os.Getenv("CI") == "true" && !slices.Contains(allowedSkips, reason) {
		s.T.Fatal("skipped in CI: ", reason)
	}
	s.T.Skip(reason)
}

func (s script) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) {
		before := look()
		defer func() {
			work := filepath.Join(os.Getenv(envStage), os.Getenv(envMode), "script-"+name)
			if !t.Failed() && !t.Skipped() {
				checkLeftovers(t, before, work)
			}
			endLeftovers()
			if os.Getenv("BRYO_IT_KEEP") == "" {
				removeTree(work)
			}
		}()
		patience := patience()
		watchdog := time.AfterFunc(patience, func() {
			t.Errorf("not done after %s, ended: %s", patience, strings.Join(descendants(), "; "))
			endLeftovers()
		})
		defer watchdog.Stop()
		f(script{t})
	})
}

// patience with one script: the slowest needs a fifth of four minutes. A long run
// of the races takes what was asked for, a few times over.
func patience() time.Duration {
	races, _ := strconv.Atoi(os.Getenv("BRYO_ATTACK_SECONDS"))
	return 4*time.Minute + time.Duration(races)*10*time.Second
}

func condition(name string) (bool, error) {
	switch name {
	case "subuid":
		return os.Getenv(envMode) != modeSingle, nil
	case "root":
		return os.Getenv(envMode) == modeRoot, nil
	case "single":
		return os.Getenv(envMode) == modeSingle, nil
	case "registry":
		return os.Getenv(envRegistry) != "", nil
	case "ipv6":
		return hasIPv6(), nil
	case "tun":
		return opens("/dev/net/tun"), nil
	case "loop":
		return opens("/dev/loop-control"), nil
	case "fuse":
		return opens("/dev/fuse"), nil
	case "cgroupv2":
		b, err := os.ReadFile(fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%[1]d.slice/user@%[1]d.service/cgroup.controllers", os.Getuid()))
		return err == nil && strings.Contains(string(b), "memory"), nil
	}
	if image, ok := strings.CutPrefix(name, "image:"); ok {
		return os.Getenv(envRegistry) != "" && !slices.ContainsFunc(strings.Split(os.Getenv(envAbsent), "\n"), func(line string) bool {
			return strings.HasPrefix(line, image+"=")
		}), nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// hasIPv6: some interface has an address that others can reach.
func hasIPv6() bool {
	list, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(list, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Is6() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast()
	})
}

func opens(device string) bool {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// ownProcesses are children that a script did not start.
var ownProcesses []int

// world is what a script must leave as it found it.
type world struct {
	mounts string
	tmp    []string
}

func look() world {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	return world{mounts: string(mounts), tmp: ownFiles("/tmp")}
}

// ownFiles lists the entries of a folder that this user owns.
func ownFiles(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil && ownerOf(info) == os.Getuid() {
			names = append(names, e.Name())
		}
	}
	return names
}

func checkLeftovers(t *testing.T, before world, work string) {
	t.Helper()
	// A process that is about to end is none: give it two seconds.
	var left []string
	for range 40 {
		if left = descendants(); len(left) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, p := range left {
		t.Errorf("left a process behind: %s", p)
	}
	after := look()
	if after.mounts != before.mounts {
		t.Errorf("the mounts of the host changed:\n%s\nbefore:\n%s", after.mounts, before.mounts)
	}
	for _, name := range after.tmp {
		if !slices.Contains(before.tmp, name) && !ofCompiler(name) {
			t.Errorf("left a file behind: /tmp/%s", name)
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(work, "tmp")); len(entries) > 0 {
		t.Errorf("left a file behind: $TMPDIR/%s", entries[0].Name())
	}
}

// ofCompiler tells the temporary files of a build that runs beside the tests as
// the same user; bryo makes none of these names.
func ofCompiler(name string) bool {
	return strings.HasPrefix(name, "go-build") || strings.HasPrefix(name, "go-link-") || strings.HasPrefix(name, "cc") || strings.HasPrefix(name, "cgo-gcc-input") || strings.HasPrefix(name, "fuzz-") || strings.HasPrefix(name, "Test")
}
