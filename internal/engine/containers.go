package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/state"
	"bryo/internal/supervisor"
	"bryo/rootfs/image"
)

// Container is one container as it stands: what was asked for and what is true.
type Container struct {
	*state.Config
	Status *state.Status
	// Broken: its state on disk cannot be read; only the ID is known.
	Broken error
}

// Running: its program runs, or is stopped by a pause.
func (c *Container) Running() bool {
	return c.Status.Running()
}

// Container finds one by ID, name, or a unique prefix of its ID.
func (e *Engine) Container(key string) (*Container, error) {
	id, err := e.containers().Find(key)
	if err != nil {
		return nil, err
	}
	c := e.read(id)
	return c, c.Broken
}

func (e *Engine) read(id string) *Container {
	config, err := e.containers().Load(id)
	if err != nil {
		return &Container{Config: &state.Config{ID: id}, Status: &state.Status{Phase: state.Dead}, Broken: err}
	}
	status, err := e.containers().Settled(id)
	if err != nil {
		return &Container{Config: config, Status: &state.Status{Phase: state.Dead, Error: err.Error()}, Broken: err}
	}
	return &Container{Config: config, Status: status}
}

// Containers lists all of them, the newest first. One with a broken state is in
// the list and does not keep the others from it.
func (e *Engine) Containers() ([]*Container, error) {
	ids, err := e.containers().IDs()
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(e.readAll(ids), func(c *Container) bool {
		return errors.Is(c.Broken, state.ErrNotFound) // removed meanwhile
	})
	sortNewest(list)
	return list, nil
}

// readAll reads many containers on all processors: what takes the time is their
// JSON.
func (e *Engine) readAll(ids []string) []*Container {
	const share = 32 // fewer are not worth a goroutine
	list := make([]*Container, len(ids))
	var readers sync.WaitGroup
	size := max(share, (len(ids)+runtime.NumCPU()-1)/runtime.NumCPU())
	for start := 0; start < len(ids); start += size {
		end := min(start+size, len(ids))
		readers.Go(func() {
			for i := start; i < end; i++ {
				list[i] = e.read(ids[i])
			}
		})
	}
	readers.Wait()
	return list
}

// LogDir is where the container's log lies.
func (e *Engine) LogDir(c *Container) string { return filepath.Join(e.containers().Path(c.ID), "log") }

// errNotRunning: it has ended, or its supervisor just did.
var errNotRunning = errors.New("is not running")

// errNoAnswer: the supervisor ended when it had the message, and before it answered.
var errNoAnswer = errors.New("it has ended meanwhile")

// dial reaches the supervisor of a running container.
func (e *Engine) dial(c *Container) (*supervisor.Control, error) {
	control, err := supervisor.Dial(supervisor.SocketPath(e.containers(), c.ID))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("container %s %w", c.Name, errNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("reach supervisor of container %s: %w", c.Name, err)
	}
	return control, nil
}

// ask sends one request to the supervisor and waits for its answer.
func (e *Engine) ask(c *Container, m supervisor.Message) (supervisor.Message, error) {
	control, err := e.dial(c)
	if err != nil {
		return supervisor.Message{}, err
	}
	defer control.Close()
	if err := control.Send(m); err != nil {
		return supervisor.Message{}, err
	}
	answer, _, err := control.Receive()
	if errors.Is(err, io.EOF) {
		return answer, fmt.Errorf("container %s %w: %w", c.Name, errNotRunning, errNoAnswer)
	}
	if err != nil {
		return answer, fmt.Errorf("supervisor of container %s: %w", c.Name, err)
	}
	if answer.Failed != nil {
		return answer, answer.Failed
	}
	return answer, nil
}

// Start runs a stopped or created container in the background.
func (e *Engine) Start(c *Container) error {
	c, err := e.settled(c)
	if err != nil {
		return err
	}
	if c.Status.Phase == state.Paused {
		return errStartPaused
	}
	if c.Running() {
		return nil // docker: no error
	}
	if err := e.startable(c); err != nil {
		return err
	}
	return e.Background(c.Config)
}

var errStartPaused = errors.New("cannot start a paused container, try unpause instead")

// StartAttached runs it with the caller's stdio; it survives this process.
func (e *Engine) StartAttached(c *Container, o ForegroundOptions) (int, error) {
	c, err := e.settled(c)
	if err != nil {
		return 125, err
	}
	if c.Status.Phase == state.Paused {
		return 1, errStartPaused
	}
	if c.Running() {
		return e.Attach(c, o)
	}
	if err := e.startable(c); err != nil {
		return 125, err
	}
	return e.Foreground(c.Config, o)
}

// settled is the container as it stands when a killed supervisor and what it left have
// ended: the threads of the one may take a moment, its program outlives it by another.
func (e *Engine) settled(c *Container) (*Container, error) {
	if !c.Running() {
		return c, nil
	}
	if err := e.awaitDying(c); err != nil {
		return c, err
	}
	if c.Status.Supervisor.Alive() {
		return c, nil
	}
	if err := ignoreGone(e.killRemains(c, nil)); err != nil {
		return c, err
	}
	fresh := e.read(c.ID)
	return fresh, fresh.Broken
}

func (e *Engine) startable(c *Container) error {
	if c.Status.Phase == state.Restarting {
		return fmt.Errorf("Container %s is restarting, wait until the container is running", c.Name)
	}
	for _, layer := range c.Image.Layers {
		if _, err := os.Stat(layer); err != nil {
			return fmt.Errorf("image of container %s is gone: %w", c.Name, err)
		}
	}
	e.endCutStart(c)
	// The map is the host's of today: subordinate ids may have changed.
	c.Mapping = e.mapping()
	return nil
}

// Attach joins a running container's stdio.
func (e *Engine) Attach(c *Container, o ForegroundOptions) (int, error) {
	if c.Status.Phase == state.Paused {
		return 1, errors.New("You cannot attach to a paused container, unpause it first")
	}
	if c.Status.Phase == state.Restarting {
		return 1, errors.New("You cannot attach to a restarting container, wait until it is running")
	}
	if !c.Running() {
		return 1, errors.New("You cannot attach to a stopped container, start it first")
	}
	s := &session{tty: c.Process.Tty, stdin: c.Process.Stdin && o.Stdin, proxy: o.SignalProxy, keys: o.DetachKeys}
	if err := s.open(); err != nil {
		return 1, err
	}
	defer s.close()
	var err error
	if s.control, err = e.dial(c); err != nil {
		return 1, err
	}
	defer s.control.Close()
	request := supervisor.Attach{Stdin: s.input != nil, Stdout: true, Stderr: !s.tty}
	if s.tty {
		request.Size, request.Terminal = terminalSize(), (*supervisor.Terminal)(s.old)
	}
	if err := s.control.Send(supervisor.Message{Attach: &request}, s.files(!s.tty)...); err != nil {
		return 1, err
	}
	s.ordered()
	s.handed()
	return s.follow()
}

// Exec runs another process in a running container and returns its exit code.
func (e *Engine) Exec(c *Container, x supervisor.Exec, keys string) (int, error) {
	if c.Status.Phase == state.Paused {
		return 1, fmt.Errorf("Container %s is paused, unpause the container before exec", c.Name)
	}
	if c.Status.Phase == state.Restarting {
		return 1, fmt.Errorf("Container %s is restarting, wait until the container is running", c.Name)
	}
	if !c.Running() {
		return 1, fmt.Errorf("container %s %w", c.Name, errNotRunning)
	}
	if size := stringsOf(x); size > maxExecStrings {
		return 126, fmt.Errorf("arguments and environment of %d bytes: the kernel takes at most %d (6 MiB)", size, maxExecStrings)
	}
	s := &session{tty: x.Tty && !x.Detach, stdin: x.Stdin && !x.Detach, proxy: !x.Detach, keys: keys}
	if err := s.open(); err != nil {
		return 1, err
	}
	defer s.close()
	var err error
	if s.control, err = e.dial(c); err != nil {
		return 1, err
	}
	defer s.control.Close()
	if s.tty {
		x.Size, x.Terminal = terminalSize(), (*supervisor.Terminal)(s.old)
	}
	x.Stdin = s.input != nil
	var files []*os.File
	if !x.Detach {
		files = s.files(!x.Tty)
	}
	if err := s.control.Send(supervisor.Message{Exec: &x}, files...); err != nil {
		return 1, err
	}
	s.ordered()
	s.handed()
	if x.Detach {
		m, _, err := s.control.Receive()
		if err == nil && m.Failed != nil {
			return m.Failed.Code, m.Failed
		}
		return 0, err
	}
	return s.follow()
}

// maxExecStrings is what no execve(2) goes beyond, however large the stack may grow.
const maxExecStrings = 6 << 20

// stringsOf is the size of what an exec gives its program.
func stringsOf(x supervisor.Exec) (size int) {
	for _, list := range [][]string{x.Args, x.Env} {
		for _, s := range list {
			size += len(s) + 1
		}
	}
	return size
}

// Stop ends a container: its stop signal, then SIGKILL after the timeout, in
// seconds; nil takes the container's own.
func (e *Engine) Stop(c *Container, sig syscall.Signal, timeout *int) error {
	if !c.Running() && c.Status.Phase != state.Restarting {
		return nil
	}
	order := supervisor.Stop{Signal: int(sig), Timeout: stopTimeout(c, timeout)}
	if sig == 0 {
		order.Signal = int(stopSignal(c))
	}
	control, err := e.dial(c)
	if err != nil {
		return e.killRemains(c, err)
	}
	defer control.Close()
	if err := control.Send(supervisor.Message{Stop: &order}); err != nil {
		return e.killRemains(c, err)
	}
	for {
		m, _, err := control.Receive()
		if err != nil {
			return e.killRemains(c, nil) // it ended with its last word unsaid
		}
		if m.Exited != nil {
			return e.awaitEnd(c)
		}
	}
}

const (
	defaultStopTimeout = 10 // seconds, docker's
	// endTime is how long a supervisor may take to write its last state.
	endTime = 5 * time.Second
)

func stopTimeout(c *Container, given *int) int {
	switch {
	case given != nil:
		return *given
	case c.Host.StopTimeout != nil:
		return *c.Host.StopTimeout
	}
	return defaultStopTimeout
}

func stopSignal(c *Container) syscall.Signal {
	if c.Host.StopSignal != "" {
		if sig, err := image.ParseSignal(c.Host.StopSignal); err == nil {
			return sig
		}
	}
	return unix.SIGTERM
}

// killRemains ends what a killed supervisor may have left, by pidfd.
func (e *Engine) killRemains(c *Container, cause error) error {
	if err := e.awaitDying(c); err != nil {
		return err
	}
	if c.Status.Init.Alive() && !c.Status.Supervisor.Alive() {
		if err := c.Status.Init.Kill(unix.SIGKILL); err != nil && c.Status.Init.Alive() {
			return err
		}
		e.recorded(c)
		return nil
	}
	if !c.Status.Supervisor.Alive() {
		return nil
	}
	if cause == nil {
		return e.awaitEnd(c)
	}
	return cause
}

// awaitDying returns when a supervisor that is being killed is gone, at once for any other.
func (e *Engine) awaitDying(c *Container) error {
	if c.Status.Supervisor.Alive() && c.Status.Supervisor.Dying() {
		return e.awaitEnd(c)
	}
	return nil
}

// awaitEnd returns when the supervisor is gone: then its files are final.
func (e *Engine) awaitEnd(c *Container) error {
	for end := time.Now().Add(endTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !c.Status.Supervisor.Alive() {
			return nil
		}
	}
	return fmt.Errorf("supervisor of container %s (pid %d) does not end", c.Name, c.Status.Supervisor.PID)
}

// Kill sends a signal to a running container's first process; after SIGKILL it
// returns when the container has ended, so that rm may follow.
func (e *Engine) Kill(c *Container, sig syscall.Signal) error {
	if !c.Running() {
		return fmt.Errorf("container %s %w", c.Name, errNotRunning)
	}
	_, err := e.ask(c, supervisor.Message{Signal: int(sig)})
	if errors.Is(err, errNoAnswer) {
		err = nil // of the signal, as it seems
	}
	if err != nil && sig == unix.SIGKILL && c.Status.Init.Alive() {
		err = c.Status.Init.Kill(sig)
	}
	if err != nil || sig != unix.SIGKILL {
		return err
	}
	return e.awaitEnd(c)
}

// Pause stops all processes of a container, Resume continues them.
func (e *Engine) Pause(c *Container, stop bool) error {
	_, err := e.ask(c, supervisor.Message{Pause: stop, Resume: !stop})
	return err
}

// Wait returns the exit code of a container when the condition has come; with
// "healthy" it returns 0 when the container is.
func (e *Engine) Wait(c *Container, condition string) (int, error) {
	code, err := e.waitExit(c, condition)
	if condition == supervisor.WaitRemoved {
		e.waitGone(c)
	}
	return code, err
}

func (e *Engine) waitExit(c *Container, condition string) (int, error) {
	alive := c.Running() || c.Status.Phase == state.Restarting
	if !alive {
		switch condition {
		case supervisor.WaitNextExit, supervisor.WaitHealthy:
			return e.waitForStart(c, condition)
		case supervisor.WaitRemoved:
			return c.Status.ExitCode, nil
		}
		return c.Status.ExitCode, nil
	}
	m, err := e.ask(c, supervisor.Message{Wait: condition})
	var failed *supervisor.Failed
	switch {
	case errors.As(err, &failed):
		return 1, fmt.Errorf("wait for container %s: %w", c.Name, err)
	case err != nil:
		// The supervisor went without a word: what it recorded is true.
		return e.recorded(c), nil
	case m.Exited == nil:
		return 0, nil
	}
	return m.Exited.Code, nil
}

// recorded waits until a container's status says that it has ended: a program may
// outlive its killed supervisor by a moment.
func (e *Engine) recorded(c *Container) int {
	for end := time.Now().Add(endTime); ; time.Sleep(pollTime) {
		fresh := e.read(c.ID)
		if fresh.Broken != nil {
			return killedCode
		}
		if !fresh.Running() && fresh.Status.Phase != state.Restarting || time.Now().After(end) {
			return fresh.Status.ExitCode
		}
	}
}

const (
	pollTime = 20 * time.Millisecond
	// killedCode stands for an exit code that nobody recorded.
	killedCode = 137
)

// waitGone returns when the container's directory is no more.
func (e *Engine) waitGone(c *Container) {
	for {
		if _, err := os.Stat(e.containers().Path(c.ID)); errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(pollTime)
	}
}

func (e *Engine) waitForStart(c *Container, condition string) (int, error) {
	for {
		time.Sleep(pollTime)
		fresh := e.read(c.ID)
		if fresh.Broken != nil {
			return 0, fresh.Broken
		}
		if fresh.Running() {
			return e.waitExit(fresh, condition)
		}
		if started := fresh.Status.Started; condition == supervisor.WaitNextExit && !started.IsZero() && !started.Equal(c.Status.Started) {
			return fresh.Status.ExitCode, nil // it was too quick to be seen
		}
	}
}

// RemoveOptions of Remove.
type RemoveOptions struct {
	Force   bool // kill it first
	Volumes bool // its anonymous volumes too
}

// Remove deletes a container.
func (e *Engine) Remove(c *Container, o RemoveOptions) error {
	for end := time.Now().Add(removeTime); ; time.Sleep(2 * time.Millisecond) {
		gone, err := e.tryRemove(c.ID, o)
		if gone || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("container %s is starting or ending, and does not come to rest", c.Name)
		}
	}
}

// removeTime bounds how long a container that starts or ends is waited for.
const removeTime = 10 * time.Second

// tryRemove deletes a container at rest; false: it does not rest yet.
func (e *Engine) tryRemove(id string, o RemoveOptions) (gone bool, err error) {
	release, err := e.containers().Lock(id)
	if err != nil {
		return errors.Is(err, state.ErrNotFound), err
	}
	defer release()
	c := e.read(id)
	if c.Broken != nil {
		e.killStrays(id)
		return true, e.delete(c, o)
	}
	if !c.Status.Supervisor.Alive() {
		e.endCutStart(c)
		if err := e.killRemains(c, nil); err != nil {
			return false, err
		}
		e.containers().BuryLocked(id)
		return true, e.delete(c, o)
	}
	release()
	switch {
	case !c.Running() && c.Status.Phase != state.Restarting:
		if o.Force && c.Status.Phase == state.Created { // it starts: the program dies with its supervisor
			return false, ignoreGone(c.Status.Supervisor.Kill(unix.SIGKILL))
		}
		return false, nil
	case !o.Force && c.Status.Phase == state.Paused:
		return false, fmt.Errorf("cannot remove container %q: container is paused and must be unpaused first", c.Name)
	case !o.Force:
		return false, fmt.Errorf("cannot remove container %q: container is %s: stop the container before removing or force remove", c.Name, c.Status.Phase)
	}
	zero := 0
	if err := e.Stop(c, unix.SIGKILL, &zero); err != nil {
		if errors.Is(err, errNotRunning) {
			err = nil // it ends by itself meanwhile
		}
		return false, err
	}
	// A --rm container was removed by its supervisor.
	return c.Host.Remove && !c.Status.Supervisor.Alive() && !e.exists(id), nil
}

// endCutStart ends what is left of a start whose supervisor was killed in the
// middle: a first process that waits to be told to go on, and would wait for ever.
func (e *Engine) endCutStart(c *Container) {
	s := c.Status
	if s.Phase == state.Created && s.Error == "" && s.Supervisor.PID != 0 && !s.Supervisor.Alive() {
		e.killStrays(c.ID)
	}
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

func (e *Engine) exists(id string) bool {
	_, err := os.Stat(e.containers().Path(id))
	return err == nil
}

// delete removes a container whose lock the caller has. Whoever is killed here leaves
// the rest to the next sweep.
func (e *Engine) delete(c *Container, o RemoveOptions) error {
	containers := e.containers()
	if err := containers.Mounted(c.ID); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	if _, err := containers.WithdrawLocked(c.ID, c.Name); err != nil {
		return err
	}
	if o.Volumes {
		_ = containers.TakeVolumes(c.ID) // on a full disk they stay, for volume prune
	}
	containers.AnnounceEnd(c.Config)
	return e.call(images.OpContainerRemove, images.ContainerRemoveArgs{ID: c.ID, Name: c.Name}, nil)
}

// Rename gives a container another name.
func (e *Engine) Rename(c *Container, name string) error {
	name = strings.TrimPrefix(name, "/")
	if !state.ValidName(name) {
		return fmt.Errorf("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if name == c.Name {
		return errors.New("Renaming a container with the same name as its current name")
	}
	old := c.Name
	if err := e.containers().Rename(c.Config, name); err != nil {
		return err
	}
	e.Announce(c, "rename", "oldName", "/"+old)
	if c.Running() {
		_, _ = e.ask(c, supervisor.Message{Reload: true})
	}
	return nil
}
