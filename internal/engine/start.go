package engine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"bryo/internal/state"
	"bryo/internal/supervisor"
	"bryo/internal/trace"
	"bryo/sandbox/userns"
)

// ForegroundOptions are how a command joins the container that it starts.
type ForegroundOptions struct {
	SignalProxy bool
	DetachKeys  string
	Stdin, Stdout,
	Stderr bool
}

// Foreground starts a created container with the caller's stdio and returns its
// program's exit code. The container ends with this process, however it ends,
// unless the user detaches: then the error is ErrDetached.
func (e *Engine) Foreground(config *state.Config, o ForegroundOptions) (int, error) {
	s := &session{tty: config.Process.Tty, stdin: config.Process.Stdin && o.Stdin, proxy: o.SignalProxy, keys: o.DetachKeys}
	if err := s.open(); err != nil {
		e.discard(config)
		return 125, err
	}
	defer s.close()
	start := supervisor.Start{
		Root: e.Root, ID: config.ID, Foreground: true,
		Output: supervisor.Attach{Stdin: s.input != nil, Stdout: o.Stdout, Stderr: o.Stderr},
	}
	if s.tty {
		start.Size, start.Terminal = terminalSize(), (*supervisor.Terminal)(s.old)
	}
	// The supervisor is not waited for: when it tells the exit code all is removed,
	// and what is left is the kernel taking its mount namespace apart (10 ms).
	err := e.spawn(config, start, s.input, s)
	if err != nil {
		return 125, err
	}
	s.handed()
	userns.ForgetCode() // while nothing waits for us: the kernel has less to do at the end
	return s.follow()
}

// Background starts a created container and returns when its program was
// executed. Its supervisor is a session of its own and outlives this process.
func (e *Engine) Background(config *state.Config) error {
	s := &session{}
	start := supervisor.Start{Root: e.Root, ID: config.ID, Rest: restAfter()}
	if err := e.spawn(config, start, nil, s); err != nil {
		return err
	}
	defer s.control.Close()
	defer s.letGo()
	m, _, err := s.control.Receive()
	switch {
	case err != nil:
		return fmt.Errorf("the container's supervisor ended unexpectedly: %w", err)
	case m.Failed != nil:
		return m.Failed
	}
	warn(m.Started)
	return nil
}

// restAfter is how long the supervisor is to be idle before it rests, if the environment
// says so ("200ms", "-1s" for never): for tests, and for who wants to look at it.
func restAfter() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("BRYO_REST"))
	return d
}

// Prepare lets the twin of this process, if it has one, get its id maps while the
// image is looked up. It becomes the supervisor of the one container that spawn
// starts, or ends with this process.
func (e *Engine) Prepare() {
	if e.twin = userns.TakeTwin(); e.twin != nil {
		e.twin.Map(e.mapping(), mappingNote())
	}
}

// mappingNote is where the next command's constructor looks (userns.Twin.Map): it knows
// the variable, and no --root.
func mappingNote() string {
	root := os.Getenv("BRYO_ROOT")
	if !filepath.IsAbs(root) {
		var err error
		if root, err = DefaultRoot(); err != nil {
			return ""
		}
	}
	return filepath.Join(root, "idmap")
}

// give makes the prepared twin the supervisor: the orders that another one finds
// waiting, and the stdin of its program.
func (e *Engine) give(start supervisor.Start, stdin *os.File, s *session) (*supervisor.Control, error) {
	control, err := supervisor.NewControl(e.twin.Control)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	if stdin != nil {
		files = append(files, stdin)
	}
	// The answer to the maps counts: when they failed, the twin may be gone.
	sent := control.Send(supervisor.Message{Start: &start}, files...)
	s.ordered()
	if err := e.twin.Mapped(); err != nil || sent != nil {
		control.Close()
		return nil, cmp.Or(err, sent)
	}
	return control, nil
}

// spawn starts the supervisor process of a container.
func (e *Engine) spawn(config *state.Config, start supervisor.Start, stdin *os.File, s *session) error {
	var err error
	if start.Cgroup, err = placeFor(config, start.Foreground); err != nil {
		e.discard(config)
		return err
	}
	if s.release, err = e.holdNetworks(&config.Host); err != nil {
		e.discard(config)
		return err
	}
	if s.control, err = e.startSupervisor(config, start, stdin, s); err != nil {
		s.release()
	}
	trace.Mark("user namespace mapped")
	if err != nil {
		e.discard(config)
	}
	return err
}

func (e *Engine) startSupervisor(config *state.Config, start supervisor.Start, stdin *os.File, s *session) (*supervisor.Control, error) {
	if e.twin != nil && config.Host.Peer() == "" {
		control, err := e.give(start, stdin, s)
		if !errors.Is(err, userns.ErrOutdated) {
			return control, err
		}
		e.clearRoot(config.ID)
	}
	s.ordered()
	p, err := e.openPeer(config)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return execSupervisor(config, start, stdin, p)
}

// clearRoot takes away what a supervisor mounted as a new container's root before it was
// told that its ids are wrong: the kernel has left its mark there, and mounts one that
// need not reach the disk only once.
func (e *Engine) clearRoot(id string) {
	dir := e.containers().Path(id)
	for _, kernels := range []string{"work/work", "work/work/incompat", "work/work/incompat/volatile"} { // without any rights
		_ = os.Chmod(filepath.Join(dir, kernels), 0o700)
	}
	for _, name := range []string{"upper", "work"} {
		_ = os.RemoveAll(filepath.Join(dir, name))
	}
}

// execSupervisor starts it from this binary.
func execSupervisor(config *state.Config, start supervisor.Start, stdin *os.File, p peer) (*supervisor.Control, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	control, theirs, err := supervisor.NewControlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	// Sent before the process exists: it finds its orders waiting.
	if err := control.Send(supervisor.Message{Start: &start}, p.files()...); err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	command := userns.Command{
		Role: supervisor.Role, Env: supervisorEnv(), Files: []*os.File{theirs}, Mapping: config.Mapping,
		Join: p.user, Setsid: true, Dir: "/",
	}
	if start.Foreground {
		command.Stdin, command.Stdout, command.Stderr = stdin, os.Stdout, os.Stderr
	}
	if _, err = userns.Start(command); err != nil {
		control.Close()
		return nil, err
	}
	return control, nil
}

// supervisorEnv: nothing of the user's environment is needed there.
func supervisorEnv() []string { return append(trace.Environ(), "PATH="+os.Getenv("PATH")) }

// discard removes a --rm container that never had a supervisor.
func (e *Engine) discard(config *state.Config) {
	if !config.Host.Remove {
		return
	}
	if _, err := e.containers().Withdraw(config); err == nil {
		e.containers().AnnounceEnd(config)
		_ = e.containers().DeleteWithVolumes(config)
	}
}
