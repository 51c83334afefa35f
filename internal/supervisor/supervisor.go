package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/rootfs/volume"

	"bryo/sandbox"
	"bryo/sandbox/userns"
)

// Main is the supervisor's process. It returns the exit code that matters to
// nobody: what happened goes over the control socket and into the status file.
func Main() int {
	// The container's first process dies with the thread that starts it
	// (PR_SET_PDEATHSIG counts threads): keep that to the one that lives longest.
	runtime.LockOSThread()
	trace.Start("supervisor")
	control, err := newControl(userns.FirstFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
		return 125
	}
	if err := userns.Ready(); err != nil {
		return fail(control, err)
	}
	trace.Mark("root of the user namespace")
	m, err := control.Receive()
	if err != nil || m.Start == nil {
		return 125 // the CLI is gone: nobody to tell, nothing started
	}
	s := &supervisor{control: control, start: *m.Start, containers: state.Open(m.Start.Root)}
	return s.supervise()
}

func fail(control *Control, err error) int {
	failed := &Failed{Message: err.Error(), Code: 125}
	var exec *sandbox.ExecError
	if errors.As(err, &exec) {
		failed.Code = exec.Code()
	}
	_ = control.Send(Message{Failed: failed})
	return failed.Code
}

// supervisor is one container's life.
type supervisor struct {
	control    *Control
	start      Start
	containers state.Dir
	config     *state.Config
	status     state.Status
	sandbox    *sandbox.Container
	stdio      *stdio
	killedBy   atomic.Int32 // the signal whose default action we carried out
}

func (s *supervisor) supervise() int {
	signals := catchSignals()
	if err := s.launch(); err != nil {
		s.recordFailure(err)
		s.stdio.abandon()
		if s.config == nil || s.config.Host.Remove {
			s.remove()
		}
		return fail(s.control, err)
	}
	_ = s.control.Send(Message{Started: &Started{PID: s.sandbox.PID()}})
	go s.containers.Sweep()
	ended := make(chan syscall.WaitStatus, 1)
	go s.serveControl()
	go s.passSignals(signals)
	go func() {
		status, err := s.sandbox.Wait()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bryo:", err)
		}
		ended <- status
	}()
	code := s.exitCode(<-ended)
	trace.Mark("program ended")
	s.stdio.drain()
	s.finish(code)
	trace.Mark("cleaned up")
	_ = s.control.Send(Message{Exited: &Exited{Code: code}})
	return code
}

// launch brings the container up to its program's first instruction.
func (s *supervisor) launch() error {
	config, err := s.containers.Load(s.start.ID)
	if err != nil {
		return err
	}
	s.config = config
	s.status = state.Status{Phase: state.Created, Supervisor: linux.RefProcess(os.Getpid())}
	if err := s.containers.WriteStatus(config.ID, &s.status); err != nil {
		return err
	}
	tree, err := s.mountTree()
	if err != nil {
		return err
	}
	trace.Mark("tree mounted")
	spec, err := s.spec(tree)
	if err != nil {
		return err
	}
	filter, err := s.filter(spec)
	if err != nil {
		return err
	}
	if s.stdio, err = openStdio(config, s.start.Size); err != nil {
		return err
	}
	trace.Mark("spec and filter ready")
	s.sandbox, err = sandbox.Start(sandbox.Config{
		ID: config.ID, StateDir: s.runDir(), Spec: spec, Filter: filter, Init: config.Host.Init,
		Single: config.Mapping.Single,
		Stdin:  s.stdio.stdin, Stdout: s.stdio.stdout, Stderr: s.stdio.stderr, Console: s.stdio.console,
	})
	if err != nil {
		return err
	}
	trace.Mark("program executed")
	s.stdio.serve(s.sandbox.Console)
	return s.recordStart()
}

func (s *supervisor) dir() string    { return s.containers.Path(s.start.ID) }
func (s *supervisor) runDir() string { return filepath.Join(s.dir(), "run") }

func (s *supervisor) recordStart() error {
	s.status.Phase = state.Running
	s.status.Init = linux.RefProcess(s.sandbox.PID())
	s.status.Started = time.Now().UTC()
	return s.containers.WriteStatus(s.config.ID, &s.status)
}

func (s *supervisor) recordFailure(err error) {
	if s.config == nil || s.config.Host.Remove {
		return
	}
	s.status.Phase, s.status.Error, s.status.ExitCode = state.Created, err.Error(), 125
	_ = s.containers.WriteStatus(s.config.ID, &s.status)
}

// finish records the end, or removes all of a --rm container, before anyone is
// told: who saw the exit code finds no trace.
func (s *supervisor) finish(code int) {
	_ = s.sandbox.Destroy()
	if s.config.Host.Remove {
		s.remove()
		return
	}
	s.status.Phase, s.status.ExitCode, s.status.Finished = state.Exited, code, time.Now().UTC()
	if err := s.containers.WriteStatus(s.config.ID, &s.status); err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
	}
}

// remove deletes the container's directory. Its files may belong to subordinate
// ids, so this is done here, where they can be deleted.
func (s *supervisor) remove() {
	name := ""
	if s.config != nil {
		name = s.config.Name
		anonymous := s.config.Volumes()
		defer func() { _ = volume.NewStore(s.start.Root).RemoveAnonymous(anonymous, s.containers.VolumeUsers) }()
	}
	s.unmountAll()
	if err := s.containers.Delete(s.start.ID, name); err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
	}
}

// unmountAll detaches what this process mounted below the container's
// directory, so that the directories can be deleted.
func (s *supervisor) unmountAll() {
	staged, _ := os.ReadDir(filepath.Join(s.dir(), stageDir))
	places := []string{rootDir, devDir}
	for _, e := range staged {
		places = append(places, filepath.Join(stageDir, e.Name()))
	}
	for _, place := range places {
		_ = unix.Unmount(filepath.Join(s.dir(), place), unix.MNT_DETACH)
	}
}

// exitCode is the shell's: 128+n for signal n.
func (s *supervisor) exitCode(status syscall.WaitStatus) int {
	if sig := s.killedBy.Load(); sig != 0 && status.Signaled() {
		return 128 + int(sig)
	}
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// serveControl follows the CLI's orders until it is gone.
func (s *supervisor) serveControl() {
	for {
		m, err := s.control.Receive()
		if err != nil {
			break
		}
		switch {
		case m.Signal != 0:
			s.signal(syscall.Signal(m.Signal))
		case m.Resize != nil:
			_ = s.sandbox.Resize(sandbox.Size(*m.Resize))
		}
	}
	if s.start.Foreground {
		_ = s.sandbox.Signal(unix.SIGKILL)
	}
}

// signal passes one on. The kernel drops signals that PID 1 of a namespace has
// no handler for; a user who presses Ctrl-C means what it does to every other
// program, so the default action is carried out here.
func (s *supervisor) signal(sig syscall.Signal) {
	switch sig {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
		if !s.config.Host.Init && !linux.HandlesSignal(s.sandbox.PID(), sig) {
			s.killedBy.Store(int32(sig))
			_ = s.sandbox.Signal(unix.SIGKILL)
			return
		}
	}
	_ = s.sandbox.Signal(sig)
}

// catchSignals: a supervisor that is told to end ends its container first.
func catchSignals() chan os.Signal {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	// Caught, not ignored: an ignored signal would stay so in the container.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE, unix.SIGTTOU, unix.SIGTTIN)
	return c
}

func (s *supervisor) passSignals(c chan os.Signal) {
	for sig := range c {
		s.signal(sig.(syscall.Signal))
	}
}
