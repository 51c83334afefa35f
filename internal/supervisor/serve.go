package supervisor

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/sandbox"
)

// serve listens for other bryo commands on the container's control socket. The
// socket lies in the container's directory, which is the user's alone.
func (s *supervisor) serve() error {
	fd, err := listen(SocketPath(s.containers, s.start.ID))
	if err != nil {
		return err
	}
	// The runtime's own poller serves the listener: no thread waits in accept.
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	s.serveOn(os.NewFile(uintptr(fd), "control listener"))
	return nil
}

func (s *supervisor) serveOn(listener *os.File) {
	s.door = listener
	go func() {
		for {
			control, err := s.accept(listener)
			switch {
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ECONNABORTED):
				continue
			case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
				time.Sleep(10 * time.Millisecond)
				continue
			}
			if err != nil {
				return
			}
			go func() {
				defer s.clients.Add(-1)
				s.converse(control)
			}()
		}
	}()
}

// accept counts the client that it takes.
func (s *supervisor) accept(listener *os.File) (*Control, error) {
	awaitInput(listener)
	s.gate.enter()
	defer s.gate.leave()
	raw, err := listener.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var acceptErr error
	err = raw.Control(func(l uintptr) { fd, _, acceptErr = unix.Accept4(int(l), unix.SOCK_CLOEXEC) })
	if err = errors.Join(err, acceptErr); err != nil {
		return nil, err
	}
	control, err := NewControl(fd)
	if err == nil {
		s.clients.Add(1)
	}
	return control, err
}

// converse serves one client until it hangs up.
func (s *supervisor) converse(control *Control) {
	defer control.Close()
	session := &session{supervisor: s, control: control}
	defer session.end()
	for {
		m, files, err := control.Receive()
		if err != nil {
			if !session.told.Load() {
				session.restoreTerminal()
			}
			return
		}
		if err := session.handle(m, files); err != nil {
			session.told.Store(true)
			_ = control.Send(Message{Failed: failure(err)})
		}
	}
}

// session is one client's connection: what it attached to or executed.
type session struct {
	*supervisor
	control *Control
	client  *client
	exec    *execution
	held    bool // paused by this client, for as long as it is there
	// told: the command knows that it is over, and puts its terminal back itself.
	told     atomic.Bool
	terminal *unix.Termios // how it was before the command made it raw
}

func (c *session) handle(m Message, files []*os.File) error {
	switch {
	case m.Attach != nil:
		return c.attach(*m.Attach, files)
	case m.Exec != nil:
		return c.execute(*m.Exec, files)
	case m.Stop != nil:
		go c.stop(*m.Stop)
	case m.Signal != 0:
		return c.deliver(syscall.Signal(m.Signal))
	case m.Resize != nil:
		c.resize(*m.Resize)
	case m.Pause, m.Resume:
		c.held = false
		if err := c.freeze(m.Pause); err != nil {
			return err
		}
		return c.control.Send(Message{Done: true})
	case m.Wait != "":
		go c.waitFor(m.Wait)
	case m.Reload:
		if err := c.reload(); err != nil {
			return err
		}
		return c.control.Send(Message{Done: true})
	case m.Tree != "":
		return c.giveTree(m.Tree)
	case m.Hold:
		return c.hold()
	case m.Detach:
		c.told.Store(true)
		c.end()
	}
	linux.CloseAll(files)
	return nil
}

// end takes a client away from the container's outputs.
func (c *session) end() {
	if c.held {
		c.held = false
		_ = c.freeze(false)
	}
	if c.exec != nil {
		c.exec.leave() // the process runs on, as docker's does
	}
	if c.client == nil {
		return
	}
	c.outputs.remove(c.client)
	c.client.flush()
	c.client.close()
	c.client = nil
	c.announce("detach")
}

func (c *session) attach(a Attach, files []*os.File) error {
	c.mu.Lock()
	stdio, running := c.stdio, c.sandbox != nil
	c.mu.Unlock()
	// Before it has its input: it may end of that at once.
	next, ok := c.waiters.join()
	if !running || !ok {
		if ok {
			c.waiters.leave()
		}
		linux.CloseAll(files)
		return errNotRunning
	}
	joined := clientOf(a, files)
	joined.gone = func(err error) {
		_ = c.control.Send(Message{Failed: &Failed{Message: "output: " + err.Error(), Code: 1}})
		c.control.Close()
	}
	joined.decouple()
	c.client, c.terminal = joined, (*unix.Termios)(a.Terminal)
	c.outputs.add(joined)
	if joined.stdin != nil {
		// The program sees the end of input when it was started for one client's
		// input (docker's StdinOnce): a container started with -i.
		stdio.feedInput(joined.stdin, c.config.Process.Stdin && !c.config.Process.Tty)
	}
	if a.Size != nil {
		c.resize(*a.Size)
	}
	c.announce("attach")
	go c.answer(WaitNextExit, next)
	return c.control.Send(Message{Started: &Started{PID: c.pid()}})
}

// clientOf takes the files in their order: those that were announced.
func clientOf(a Attach, files []*os.File) *client {
	c := &client{}
	next := func(announced bool) *os.File {
		if !announced || len(files) == 0 {
			return nil
		}
		f := files[0]
		files = files[1:]
		return f
	}
	c.stdin, c.stdout, c.stderr = next(a.Stdin), next(a.Stdout), next(a.Stderr)
	linux.CloseAll(files)
	return c
}

func (s *supervisor) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sandbox == nil {
		return 0
	}
	return s.sandbox.PID()
}

// first is the container's first process, for those who look up its pid: that may be
// another's by then.
func (s *supervisor) first() linux.ProcessRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Init
}

func (c *session) deliver(sig syscall.Signal) error {
	if c.exec != nil {
		return c.exec.process.Signal(sig)
	}
	if c.control == c.supervisor.control {
		// Ctrl-C in front of `run` means what it does to a plain command.
		c.signal(sig)
		return nil
	}
	if err := c.kill(sig); err != nil || c.client != nil {
		return err
	}
	return c.control.Send(Message{Done: true})
}

func (c *session) resize(size Size) {
	if c.exec != nil {
		_ = c.exec.process.Resize(size)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sandbox != nil {
		_ = c.sandbox.Resize(size)
	}
}

// kill sends a signal to the container's first process as it is.
func (s *supervisor) kill(sig syscall.Signal) error {
	s.mu.Lock()
	box := s.sandbox
	if box != nil && sig == unix.SIGKILL {
		s.stopLocked() // docker: killed by hand is not restarted
	}
	s.mu.Unlock()
	if box == nil {
		return errNotRunning
	}
	return s.send(box, sig)
}

// send signals the first process and records it.
func (s *supervisor) send(box *sandbox.Container, sig syscall.Signal) error {
	s.announce("kill", "signal", strconv.Itoa(int(sig)))
	return box.Signal(sig)
}

// signal passes one on. The kernel drops signals that PID 1 of a namespace has
// no handler for; a user who presses Ctrl-C means what it does to every other
// program, so the default action is carried out here.
func (s *supervisor) signal(sig syscall.Signal) {
	s.mu.Lock()
	box := s.sandbox
	s.mu.Unlock()
	if box == nil {
		return
	}
	switch sig {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
		if !s.config.Host.Init && !linux.HandlesSignal(box.PID(), sig) {
			s.killedBy.Store(int32(sig))
			s.announce("kill", "signal", strconv.Itoa(int(sig)))
			_ = box.Signal(unix.SIGKILL)
			return
		}
	}
	if sig == unix.SIGTSTP && !s.config.Host.Init && !linux.HandlesSignal(box.PID(), sig) {
		_ = linux.SignalNamespace(s.first(), unix.SIGSTOP) // Ctrl-Z: the kernel spares PID 1
		return
	}
	if sig == unix.SIGCONT {
		_ = linux.SignalNamespace(s.first(), sig)
		return
	}
	_ = s.send(box, sig)
}

func (s *supervisor) passSignals(c chan os.Signal) {
	for sig := range c {
		s.passSignal(sig.(syscall.Signal))
	}
}

// passSignal: not by the user. At a shutdown everything is told to end, and what the
// restart policy wants is started again after it.
func (s *supervisor) passSignal(sig syscall.Signal) {
	s.mu.Lock()
	s.endRestarts()
	s.mu.Unlock()
	s.signal(sig)
}

// passNoted does the same for a supervisor that may rest.
func (s *supervisor) passNoted() {
	for {
		awaitInput(s.signals.File())
		s.gate.enter()
		var one [1]byte
		n, err := s.signals.File().Read(one[:])
		if n == 1 {
			s.passSignal(syscall.Signal(one[0]))
		}
		s.gate.leave()
		if err != nil {
			return
		}
	}
}

// setStopped: the user wants it to end; there is no restart.
func (s *supervisor) setStopped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked()
}

func (s *supervisor) stopLocked() {
	s.endRestarts()
	s.status.StoppedByUser = true
}

// endRestarts is called with the lock held.
func (s *supervisor) endRestarts() {
	if !s.stopped {
		s.stopped = true
		close(s.halt)
	}
}

// followStarter serves the command that started us. A foreground container ends
// with it, unless it said that it detaches.
func (s *supervisor) followStarter() {
	defer s.clients.Add(-1) // supervise has counted it
	session := &session{supervisor: s, control: s.control}
	for {
		m, files, err := s.control.Receive()
		if err != nil {
			break
		}
		if m.Detach {
			s.detached.Store(true)
			s.outputs.leave()
			leaveTerminal()
			s.announce("detach")
			continue
		}
		_ = session.handle(m, files)
	}
	if s.start.Foreground && !s.detached.Load() && !s.ended.Load() {
		s.restoreTerminal()
		s.setStopped()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sandbox != nil {
			_ = s.sandbox.Signal(unix.SIGKILL)
		}
	}
}

// restoreTerminal undoes the raw mode of a command that was killed.
func (c *session) restoreTerminal() {
	from := c.client
	if c.exec != nil {
		from = c.exec.client
	}
	if c.terminal != nil && from != nil && from.stdout != nil {
		_ = unix.IoctlSetTermios(int(from.stdout.Fd()), unix.TCSETS, c.terminal)
	}
}

// restoreTerminal is the same for the command that started the container.
func (s *supervisor) restoreTerminal() {
	if s.start.Terminal == nil {
		return
	}
	for fd := range 3 {
		if unix.IoctlSetTermios(fd, unix.TCSETS, (*unix.Termios)(s.start.Terminal)) == nil {
			return
		}
	}
}

// leaveTerminal lets go of the user's terminal: whoever waits for its end must
// not wait for the container.
func leaveTerminal() {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	for fd := range 3 {
		_ = unix.Dup3(null, fd, 0)
	}
	unix.Close(null)
}

// stop ends the container: the signal, then SIGKILL when its time is up. A
// program that is PID 1 and does not handle the signal is not waited for.
func (c *session) stop(order Stop) {
	c.setStopped()
	c.stopAsked.Store(true)
	if c.paused() {
		_ = c.freeze(false)
	}
	sig := syscall.Signal(order.Signal)
	c.mu.Lock()
	box := c.sandbox
	c.mu.Unlock()
	if box != nil {
		if !c.config.Host.Init && !linux.HandlesSignal(box.PID(), sig) {
			// Nothing would happen but waiting (see pid_namespaces(7)).
			sig = unix.SIGKILL
		}
		_ = c.send(box, sig)
		if sig != unix.SIGKILL {
			c.killAfter(box, order.Timeout)
		}
	}
	c.waitFor(WaitRemoved)
}

func (c *session) killAfter(box *sandbox.Container, seconds int) {
	if seconds < 0 {
		return
	}
	select {
	case <-c.waiters.over:
	case <-time.After(time.Duration(seconds) * time.Second):
		_ = c.send(box, unix.SIGKILL)
	}
}

// waitFor answers with the exit code when the condition has come.
func (c *session) waitFor(condition string) {
	next, ok := c.waiters.join()
	if !ok {
		<-c.waiters.over // it ended meanwhile
		c.told.Store(true)
		_ = c.control.Send(Message{Exited: &Exited{Code: c.waiters.code}})
		return
	}
	c.answer(condition, next)
}

// answer is waitFor for somebody who has joined.
func (c *session) answer(condition string, next <-chan int) {
	defer c.waiters.leave()
	var code int
	switch condition {
	case WaitHealthy:
		c.waitHealthy()
		return
	case WaitRemoved:
		<-c.waiters.over
		code = c.waiters.code
	default:
		code = c.waiters.exit(next)
	}
	if joined := c.client; joined != nil {
		joined.flush() // the last of the output first
	}
	c.told.Store(true)
	_ = c.control.Send(Message{Exited: &Exited{Code: code}})
}

// reload reads the configuration again after `update` or `rename` wrote it.
func (s *supervisor) reload() error {
	config, err := s.containers.Load(s.start.ID)
	if err != nil {
		return err
	}
	if s.onMain(func() { err = s.rewire(config) }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sandbox != nil && s.group.Path != "" && !reflect.DeepEqual(config.Host.Limits, s.config.Host.Limits) {
		if err := s.sandbox.Limit(s.resources(config)); err != nil {
			return err
		}
	}
	s.config, s.mark = config, state.Mark{}
	go s.renamed(config)
	go s.writeStatus() // whatever became of the file
	return nil
}

// freeze stops or continues all processes of the container.
func (s *supervisor) freeze(stop bool) error {
	s.mu.Lock()
	box, phase := s.sandbox, s.status.Phase
	s.mu.Unlock()
	switch {
	case box == nil:
		return errNotRunning
	case s.config.Host.PID != "" && s.config.Host.PID != "private":
		return errors.New("the container's processes are not in a pid namespace of their own: who else would stop cannot be told")
	case stop && phase == state.Paused:
		return fmt.Errorf("Container %s is already paused", s.config.ID)
	case !stop && phase != state.Paused:
		return fmt.Errorf("Container %s is not paused", s.config.ID)
	}
	sig, next, event := unix.SIGSTOP, state.Paused, "pause"
	if !stop {
		sig, next, event = unix.SIGCONT, state.Running, "unpause"
	}
	if err := linux.SignalNamespace(s.first(), sig); err != nil {
		return fmt.Errorf("signal all processes: %w", err)
	}
	s.change(func(st *state.Status) { st.Phase = next })
	s.announce(event)
	return nil
}

func (s *supervisor) paused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Phase == state.Paused
}
