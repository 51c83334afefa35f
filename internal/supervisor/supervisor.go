package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"bryo/internal/hostinfo"
	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/internal/supervisor/rest"
	"bryo/internal/trace"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

// Main is the supervisor's process. Its exit code matters to nobody: what
// happened goes over the control socket and into the status file.
func Main() int {
	// A process of the container dies with the thread that started it
	// (PR_SET_PDEATHSIG counts threads): all are started by the main thread,
	// which lives longest.
	runtime.LockOSThread()
	if plan, err := rest.Woken(); plan != nil || err != nil {
		return wake(plan, err)
	}
	debug.SetGCPercent(-1) // until the program runs, see settle
	trace.Start("supervisor", userns.Began())
	control, err := NewControl(userns.FirstFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
		return 125
	}
	mapped := awaitMaps()
	m, files, err := control.Receive()
	if err != nil || m.Start == nil {
		return 125 // the CLI is gone: nobody to tell, nothing started
	}
	s := newSupervisor(control, *m.Start)
	s.mapped = mapped
	catching := s.beginSignals()
	if userns.IsTwin() {
		err = s.beginEarly(files)
	} else if len(files) > 0 {
		s.peer = files[0]
	}
	if err == nil {
		err = s.mapped.wait()
	}
	go func() { // not earlier: until the ids are mapped all processors have enough to do
		linux.GrowStack()
		hostinfo.ProcMasked()
		sandbox.Warm()
	}()
	caught := <-catching
	if err = cmp.Or(err, caught.err); err != nil {
		return fail(control, err)
	}
	trace.Mark("root of the user namespace")
	return s.supervise(caught.signals)
}

// takeStdio gives a forked supervisor the descriptors that an executed one finds:
// the stdin that was sent, the command's own stdout and stderr, and /dev/null
// for all that it shall not have.
func takeStdio(start *Start, files []*os.File) error {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	stdin := null
	if len(files) > 0 {
		stdin = files[0]
		defer stdin.Close()
	}
	place := map[int]*os.File{0: stdin}
	if !start.Foreground {
		place[1], place[2] = null, null
	}
	for fd, file := range place {
		if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}

// fail tells the CLI why nothing runs.
func fail(control *Control, err error) int {
	failed := failure(err)
	_ = control.Send(Message{Failed: failed})
	return failed.Code
}

func failure(err error) *Failed {
	var failed *Failed
	if errors.As(err, &failed) {
		return failed
	}
	failed = &Failed{Message: err.Error(), Code: 125}
	var exec *sandbox.ExecError
	if errors.As(err, &exec) {
		failed.Code = exec.Code()
	}
	return failed
}

// caught is what catchSignals returned.
type caught struct {
	signals chan os.Signal
	err     error
}

// beginSignals catches them beside what comes next where os/signal does it, which takes
// its time.
func (s *supervisor) beginSignals() <-chan caught {
	done := make(chan caught, 1)
	catch := func() {
		signals, err := s.catchSignals()
		done <- caught{signals, err}
	}
	if s.start.Foreground {
		go catch()
	} else {
		catch()
	}
	return done
}

// catchSignals: a supervisor that is told to end ends its container first.
func (s *supervisor) catchSignals() (chan os.Signal, error) {
	c := make(chan os.Signal, 8)
	if !s.start.Foreground {
		catchJobSignals()
		var err error
		s.signals, err = rest.CatchSignals()
		return c, err
	}
	signal.Notify(c, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	catchJobSignals()
	return c, nil
}

func catchJobSignals() {
	// Caught, not ignored: an ignored signal would stay so in the container.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE, unix.SIGTTOU, unix.SIGTTIN)
}

func (s *supervisor) dir() string { return s.containers.Path(s.start.ID) }

// runDir holds what this process alone needs; in memory where the kernel lets us.
func (s *supervisor) runDir() string { return cmp.Or(s.memory, filepath.Join(s.dir(), runDir)) }

// exitCode is the shell's: 128+n for signal n.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// writeStatus records the present state, and complains only on stderr: a full
// disk must not keep a container from ending.
func (s *supervisor) writeStatus() {
	s.mu.Lock()
	status := s.status
	s.mu.Unlock()
	if s.removed {
		return
	}
	if err := s.containers.WriteStatus(s.start.ID, &status); err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
	}
}

// change alters the status under the lock and writes it.
func (s *supervisor) change(how func(*state.Status)) {
	s.alter(how)
	s.writeStatus()
}

func (s *supervisor) alter(how func(*state.Status)) {
	s.mu.Lock()
	how(&s.status)
	s.mu.Unlock()
}
