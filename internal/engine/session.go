package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/moby/term"
	"golang.org/x/sys/unix"

	"bryo/internal/supervisor"
	"bryo/internal/trace"
	"bryo/sandbox/userns"
)

// ErrDetached: the user typed the detach keys; the program runs on.
var ErrDetached = errors.New("detached")

// session is this process's side of a program in a container: its keys, its
// signals, the size of its window, until the program ends.
type session struct {
	control *supervisor.Control
	tty     bool
	stdin   bool
	proxy   bool // pass signals on
	keys    string

	signals  chan os.Signal
	detached chan struct{}
	restore  func()
	old      *unix.Termios // of the terminal, before it was made raw
	input    *os.File      // what the supervisor reads as stdin; nil: nothing
	pump     func()
	starting bool   // the answer Started has not come yet
	release  func() // lets go of the networks, once the supervisor has them
}

// defaultKeys detach as docker's do.
const defaultKeys = "ctrl-p,ctrl-q"

// open prepares terminal and stdin. close gives the terminal back.
func (s *session) open() error {
	s.signals, s.detached = make(chan os.Signal, 64), make(chan struct{})
	s.restore = func() {}
	if s.tty { // before its size is asked for
		s.catch()
	}
	if err := s.openInput(); err != nil {
		s.close()
		return err
	}
	if s.tty {
		if err := s.rawTerminal(); err != nil {
			s.close()
			return err
		}
	}
	return nil
}

// letGo is called when the supervisor has its own hold on the networks.
func (s *session) letGo() {
	if s.release != nil {
		s.release()
	}
}

// close leaves the signals caught: what comes now has nobody to go to, and this process
// is about to end. To let go of each takes the runtime two thread switches.
func (s *session) close() { s.restore() }

// ordered is called when the supervisor has its orders: as catching takes almost a
// millisecond, it begins meanwhile. A signal before ends this process, and that the
// container, as any time.
func (s *session) ordered() {
	if s.signals != nil && !s.tty {
		s.catch()
	}
}

// catch takes every signal that a user or a script may send. Left alone: those
// of the Go runtime, of job control by stop, and SIGPIPE and SIGCHLD, which
// concern this process only.
func (s *session) catch() {
	list := []os.Signal{unix.SIGWINCH}
	for n := 1; s.proxy && n < 32; n++ {
		switch sig := syscall.Signal(n); sig {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGWINCH,
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGSYS,
			unix.SIGTTIN, unix.SIGTTOU, unix.SIGPROF:
		default:
			list = append(list, sig)
		}
	}
	userns.RuntimeQuit()
	signal.Notify(s.signals, list...)
}

// openInput decides what the program's stdin is. Files and pipes are handed
// over. A terminal is read here and passed on through a pipe, so that whoever
// detaches has his keys back at once.
func (s *session) openInput() error {
	if !s.stdin {
		return nil
	}
	if info, err := os.Stdin.Stat(); err == nil && info.IsDir() {
		return errors.New("standard input: is a directory")
	}
	if !isTerminal(os.Stdin) && !s.tty {
		s.input = os.Stdin
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("create pipe: %w", err)
	}
	s.input = r
	var from io.Reader = os.Stdin
	if s.tty {
		keys, err := DetachKeys(s.keys)
		if err != nil {
			return err
		}
		from = term.NewEscapeProxy(os.Stdin, keys)
	}
	s.pump = func() {
		_, err := io.Copy(w, from)
		w.Close()
		var escape term.EscapeError
		if errors.As(err, &escape) {
			close(s.detached)
		}
	}
	return nil
}

// DetachKeys are the bytes of a sequence in docker's spelling: "ctrl-a,x"; without
// one, those of docker's default.
func DetachKeys(spelling string) ([]byte, error) {
	keys, err := term.ToBytes(cmp.Or(spelling, defaultKeys))
	if err != nil {
		return nil, fmt.Errorf("Invalid detach keys (%s): %w", spelling, err)
	}
	return keys, nil
}

// handed is called when the supervisor has its copy of the input.
func (s *session) handed() {
	if s.pump != nil {
		s.input.Close()
		go s.pump()
	}
}

// files are the descriptors for Attach and Exec, in its order.
func (s *session) files(stderr bool) []*os.File {
	var files []*os.File
	if s.input != nil {
		files = append(files, s.input)
	}
	files = append(files, os.Stdout)
	if stderr {
		files = append(files, os.Stderr)
	}
	return files
}

// rawTerminal hands the keys to the container's terminal.
func (s *session) rawTerminal() error {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		if s.stdin {
			return errors.New("the input device is not a TTY")
		}
		return nil
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	// In the background this stops the process, and its children: not one that was
	// forked a moment ago and is to execute a program (newuidmap). The thread that made
	// it waits for that and cannot stop, so the shell would never hear of the stop.
	syscall.ForkLock.RLock()
	err = unix.IoctlSetTermios(fd, unix.TCSETS, &raw)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return fmt.Errorf("set terminal to raw mode: %w", err)
	}
	s.old = old
	s.restore = func() { _ = unix.IoctlSetTermios(fd, unix.TCSETSW, old) }
	return nil
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

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// follow passes signals and sizes on until the program has ended, and returns
// its exit code.
func (s *session) follow() (int, error) {
	type event struct {
		m   supervisor.Message
		err error
	}
	events := make(chan event)
	go func() {
		for {
			m, files, err := s.control.Receive()
			for _, f := range files {
				f.Close()
			}
			events <- event{m, err}
			if err != nil {
				return
			}
		}
	}()
	s.starting = true
	var pending []os.Signal
	for {
		select {
		case e := <-events:
			switch {
			case errors.Is(e.err, io.EOF):
				return 125, errors.New("the container's supervisor ended unexpectedly")
			case e.err != nil:
				return 125, fmt.Errorf("control socket: %w", e.err)
			case e.m.Failed != nil:
				return e.m.Failed.Code, e.m.Failed
			case e.m.Exited != nil:
				trace.Mark("told of the end")
				return e.m.Exited.Code, lost(e.m.Exited)
			case e.m.Started != nil:
				s.starting = false
				s.letGo()
				warn(e.m.Started)
				for _, sig := range pending {
					s.pass(sig)
				}
			}
		case sig := <-s.signals:
			if s.starting {
				pending = append(pending, sig)
				continue
			}
			s.pass(sig)
		case <-s.detached:
			_ = s.control.Send(supervisor.Message{Detach: true})
			return 0, ErrDetached
		}
	}
}

// ErrOutput: the program ended, and not all that it wrote could be passed on.
var ErrOutput = errors.New("output lost")

func lost(e *supervisor.Exited) error {
	if e.Lost == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrOutput, e.Lost)
}

// forwarded is the last signal that this process passed on, for Forwarded.
var forwarded syscall.Signal

// Forwarded says whether this process received the signal and passed it on.
func Forwarded(sig syscall.Signal) bool { return forwarded == sig }

func (s *session) pass(sig os.Signal) {
	switch sig {
	case unix.SIGWINCH:
		if size := terminalSize(); s.tty && size != nil {
			_ = s.control.Send(supervisor.Message{Resize: size})
		}
	case unix.SIGTSTP:
		// The container stops, then this process, as a plain command would.
		_ = s.control.Send(supervisor.Message{Signal: int(unix.SIGTSTP)})
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	default:
		forwarded = sig.(syscall.Signal)
		_ = s.control.Send(supervisor.Message{Signal: int(forwarded)})
	}
}

// warn says on stderr what a start had to do without.
func warn(started *supervisor.Started) {
	if started != nil && started.Warning != "" {
		fmt.Fprintln(os.Stderr, "bryo:", started.Warning)
	}
}
