package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/integration/fixture"
)

// What the parent tells the test process of each user.
const (
	envMode     = "BRYO_IT_MODE"     // full or single
	envStage    = "BRYO_IT_STAGE"    // folder of this run
	envFixtures = "BRYO_IT_FIXTURES" // images, see package fixture
	envRegistry = "BRYO_IT_REGISTRY" // address of the shared registry; empty without one
	envAbsent   = "BRYO_IT_ABSENT"   // images that could not be made, name=reason, by line
)

// Modes: who the user is and how many ids he has.
const (
	modeFull   = "full"
	modeSingle = "single"
	modeRoot   = "root"
)

// The folder of a run holds what both users read: bin/bryo, scripts/, and one
// work folder per user.
type stage struct {
	dir      string
	fixtures *fixture.Set
	registry *fixture.Registry
}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "fakejournal" {
		os.Exit(journalMain())
	}
	if os.Getenv(envMode) != "" {
		os.Exit(runAsUser(m))
	}
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (int, error) {
	bryo, err := findBryo()
	if err != nil {
		return 1, err
	}
	s, err := prepare(bryo)
	if err != nil {
		return 1, err
	}
	defer s.remove()
	if os.Geteuid() != 0 {
		return runInProcess(m, s), nil
	}
	return runUsers(s)
}

// findBryo: the make target names the binary; a bare `go test` takes the one
// that was built last.
func findBryo() (string, error) {
	if path := os.Getenv("BRYO_BIN"); path != "" {
		return path, nil
	}
	path, err := filepath.Abs("../bryo")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", errors.New("no ./bryo to test: run make")
	}
	return path, nil
}

func prepare(bryo string) (_ *stage, err error) {
	dir, err := os.MkdirTemp("/var/tmp", "bryo-it-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.copyIn(bryo); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-o", dir, "./probe", "./web")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build probe and web: %w: %s", err, out)
	}
	if s.fixtures, err = fixture.Build(cacheDir(), filepath.Join(dir, "probe")); err != nil {
		return nil, err
	}
	return s, s.startRegistry()
}

// cacheDir keeps the images between runs.
func cacheDir() string {
	if dir := os.Getenv("BRYO_TEST_CACHE"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/cache/bryo-test" // both users read it
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = "/var/tmp"
	}
	return filepath.Join(dir, "bryo-test")
}

// copyIn puts what the users run where they can read it: the source tree and
// the go command's build folder may be root's alone.
func (s *stage) copyIn(bryo string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		return err
	}
	copies := map[string]string{bryo: "bin/bryo", self: "integration.test"}
	for from, to := range copies {
		if err := copyFile(from, filepath.Join(s.dir, to)); err != nil {
			return err
		}
	}
	if err := os.Symlink("../integration.test", filepath.Join(s.dir, "bin/fakejournal")); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(s.dir, "scripts"), os.DirFS("scripts")); err != nil {
		return err
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (s *stage) startRegistry() error {
	if _, err := exec.LookPath("docker-registry"); err != nil {
		return nil // scripts that need it are skipped by name
	}
	var err error
	if s.registry, err = fixture.StartRegistry(filepath.Join(s.dir, "registry"), fixture.RegistryOptions{}); err != nil {
		return err
	}
	return s.fixtures.Push(context.Background(), s.registry.Address, nil,
		"busybox", "config", "probe", "layers", "zstd", "multi", "nocommand", "big", "debian", "evil", "servers")
}

func (s *stage) remove() {
	if s.registry != nil {
		s.registry.Stop()
	}
	removeTree(s.dir)
}

func (s *stage) environment(mode string) []string {
	env := []string{envMode + "=" + mode, envStage + "=" + s.dir, envFixtures + "=" + s.fixtures.Dir}
	if s.registry != nil {
		env = append(env, envRegistry+"="+s.registry.Address)
	}
	var absent []string
	for name, reason := range s.fixtures.Absent {
		absent = append(absent, name+"="+reason)
	}
	return append(env, envAbsent+"="+strings.Join(absent, "\n"))
}

// runUsers runs the test binary once per user, all at a time, and prints their
// outputs one after another so that go test can tell them apart.
func runUsers(s *stage) (int, error) {
	if out, err := exec.Command("./users").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("make test users: %w: %s", err, out)
	}
	code := 0
	var wait []func()
	for _, who := range []struct{ user, mode, test string }{
		{"bryo-test", modeFull, "TestSubordinateIDs"},
		{"bryo-single", modeSingle, "TestSingleUID"},
		{"root", modeRoot, "TestRoot"},
	} {
		cmd, err := s.command(who.user, who.mode, who.test)
		if err != nil {
			return 1, err
		}
		var later bytes.Buffer
		cmd.Stdout, cmd.Stderr = &later, &later
		if len(wait) == 0 {
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		}
		if err := cmd.Start(); err != nil {
			return 1, err
		}
		wait = append(wait, func() {
			if cmd.Wait() != nil {
				code = 1
			}
			os.Stdout.Write(later.Bytes())
		})
	}
	for _, w := range wait {
		w()
	}
	return code, nil
}

// allTests are the test functions; each process runs the one of its user.
var allTests = []string{"TestSubordinateIDs", "TestSingleUID", "TestRoot"}

func (s *stage) command(name, mode, test string) (*exec.Cmd, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	work := filepath.Join(s.dir, mode)
	if err := errors.Join(os.Mkdir(work, 0o700), os.Chown(work, uid, gid)); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(s.dir, "integration.test"), append(childArgs(), "-test.skip="+others(test))...)
	cmd.Dir = s.dir
	cmd.Env = append(s.environment(mode), "HOME="+u.HomeDir, "USER="+name, "PATH="+os.Getenv("PATH"), "CI="+os.Getenv("CI"), "BRYO_IT_ALL="+os.Getenv("BRYO_IT_ALL"), "BRYO_IT_KEEP="+os.Getenv("BRYO_IT_KEEP"),
		"LANG=C.UTF-8")
	// How long, how many: what the user of the tests asked for.
	for _, name := range []string{"BRYO_ATTACK_SECONDS", "BRYO_NET_LOAD", "BRYO_KILL_POINTS", "BRYO_REST"} {
		if value := os.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd, nil
}

// others is a pattern of the tests that are not this one.
func others(test string) string {
	var names []string
	for _, t := range allTests {
		if t != test {
			names = append(names, "^"+t+"$")
		}
	}
	return strings.Join(names, "|")
}

// childArgs drops the files that the go command wants its test to write: they
// lie in a folder of root's.
func childArgs() []string {
	var args []string
	for _, a := range os.Args[1:] {
		if !strings.HasPrefix(a, "-test.testlogfile") && !strings.HasPrefix(a, "-test.gocoverdir") && !strings.HasPrefix(a, "-test.outputdir") {
			args = append(args, a)
		}
	}
	return args
}

// runInProcess: a plain user tests as himself.
func runInProcess(m *testing.M, s *stage) int {
	mode := modeSingle
	u, err := user.Current()
	if b, _ := os.ReadFile("/etc/subuid"); err == nil && (bytes.Contains(b, []byte(u.Username+":")) || bytes.Contains(b, []byte(u.Uid+":"))) {
		mode = modeFull
	}
	for _, pair := range s.environment(mode) {
		name, value, _ := strings.Cut(pair, "=")
		os.Setenv(name, value)
	}
	if err := os.Mkdir(filepath.Join(s.dir, mode), 0o700); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	if err := os.Chdir(s.dir); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	if s.registry != nil {
		ownProcesses = append(ownProcesses, s.registry.PID())
	}
	return runAsUser(m)
}

func runAsUser(m *testing.M) int {
	// What a container leaves behind is handed to us instead of to PID 1, so
	// that it can be found.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "integration: become subreaper:", err)
		return 1
	}
	return m.Run()
}

// removeTree deletes a folder that holds files of subordinate ids, which their
// user may delete only from inside a user namespace.
func removeTree(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = exec.Command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", dir).Run()
}
