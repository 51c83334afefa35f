package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/internal/supervisor"
	"bryo/internal/trace"
	"bryo/sandbox/userns"
)

// Foreground starts a created container with the caller's stdio and returns its
// program's exit code. The container ends with this process, however it ends.
func (e *Engine) Foreground(config *state.Config, signalProxy bool) (int, error) {
	f := &foreground{engine: e, config: config, proxy: signalProxy}
	// Signals count from here on: one that comes while the container starts is
	// delivered as soon as it has.
	f.signals = make(chan os.Signal, 64)
	f.catch()
	defer signal.Stop(f.signals)
	if config.Process.Tty {
		restore, err := f.rawTerminal()
		if err != nil {
			return 125, err
		}
		defer restore()
	}
	code, err := f.run()
	return code, err
}

type foreground struct {
	engine  *Engine
	config  *state.Config
	proxy   bool
	signals chan os.Signal
	control *supervisor.Control
}

// catch takes every signal that a user or a script may send. Left alone: those
// of the Go runtime, of job control by stop, and SIGPIPE and SIGCHLD, which
// concern this process only.
func (f *foreground) catch() {
	list := []os.Signal{unix.SIGWINCH}
	if f.proxy {
		for n := 1; n < 32; n++ {
			switch sig := syscall.Signal(n); sig {
			case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGWINCH,
				unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGSYS,
				unix.SIGTTIN, unix.SIGTTOU, unix.SIGPROF:
			default:
				list = append(list, sig)
			}
		}
	}
	signal.Notify(f.signals, list...)
}

func (f *foreground) run() (int, error) {
	// The supervisor is told by the closed socket when we go; nothing depends
	// on this thread, but the helper programs should run on a quiet one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	control, theirs, err := supervisor.NewControlPair()
	if err != nil {
		return 125, err
	}
	defer control.Close()
	f.control = control
	start := supervisor.Start{Root: f.engine.Root, ID: f.config.ID, Foreground: true}
	if f.config.Process.Tty {
		start.Size = terminalSize()
	}
	// Sent before the process exists: it finds its orders waiting.
	if err := control.Send(supervisor.Message{Start: &start}); err != nil {
		return 125, fmt.Errorf("start supervisor: %w", err)
	}
	cmd, err := userns.Start(userns.Command{
		Role: supervisor.Role, Env: supervisorEnv(), Files: []*os.File{theirs}, Mapping: f.config.Mapping,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Setsid: true, Dir: "/",
	})
	theirs.Close()
	trace.Mark("user namespace mapped")
	if err != nil {
		f.engine.discard(f.config)
		return 125, err
	}
	defer func() { _ = cmd.Wait() }()
	return f.follow()
}

// supervisorEnv: nothing of the user's environment is needed there.
func supervisorEnv() []string { return append(trace.Environ(), "PATH="+os.Getenv("PATH")) }

// follow passes signals and sizes on until the container has ended.
func (f *foreground) follow() (int, error) {
	messages := make(chan supervisor.Message)
	var failure error
	go func() {
		defer close(messages)
		for {
			m, err := f.control.Receive()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					failure = err
				}
				return
			}
			messages <- m
		}
	}()
	started := false
	var pending []os.Signal
	for {
		select {
		case m, open := <-messages:
			switch {
			case !open:
				return 125, fmt.Errorf("supervisor of container %s ended unexpectedly%s", f.config.Name, because(failure))
			case m.Failed != nil:
				return m.Failed.Code, m.Failed
			case m.Exited != nil:
				trace.Mark("told of the end")
				return m.Exited.Code, nil
			case m.Started != nil:
				started = true
				for _, sig := range pending {
					f.pass(sig)
				}
			}
		case sig := <-f.signals:
			if !started {
				pending = append(pending, sig)
				continue
			}
			f.pass(sig)
		}
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// forwarded is the last signal that this process passed on, for Forwarded.
var forwarded syscall.Signal

// Forwarded says whether this process received the signal and passed it on.
func Forwarded(sig syscall.Signal) bool { return forwarded == sig }

func (f *foreground) pass(sig os.Signal) {
	switch sig {
	case unix.SIGWINCH:
		if size := terminalSize(); f.config.Process.Tty && size != nil {
			_ = f.control.Send(supervisor.Message{Resize: size})
		}
	case unix.SIGTSTP:
		// The container stops, then this process, as a plain command would.
		_ = f.control.Send(supervisor.Message{Signal: int(unix.SIGTSTP)})
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	default:
		forwarded = sig.(syscall.Signal)
		_ = f.control.Send(supervisor.Message{Signal: int(sig.(syscall.Signal))})
	}
}

// rawTerminal hands the keys to the container's terminal. The returned function
// puts the terminal back; it runs however the container ends, and the
// supervisor does it when this process is killed.
func (f *foreground) rawTerminal() (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		if f.config.Process.Stdin {
			f.engine.discard(f.config)
			return nil, errors.New("the input device is not a TTY")
		}
		return func() {}, nil
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set terminal to raw mode: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETSW, old) }, nil
}

// terminalSize is that of the first of stdout, stdin, stderr that is a terminal.
func terminalSize() *supervisor.Size {
	for _, f := range []*os.File{os.Stdout, os.Stdin, os.Stderr} {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			return &supervisor.Size{Width: ws.Col, Height: ws.Row}
		}
	}
	return nil
}

// discard removes a --rm container that never had a supervisor.
func (e *Engine) discard(config *state.Config) {
	if !config.Host.Remove {
		return
	}
	e.containers().Release(config.Name, config.ID)
	_ = os.RemoveAll(e.containers().Path(config.ID))
}
