package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// ptyCommand runs a command on a terminal of its own and plays FILE to it, line
// by line:
//
//	size ROWSxCOLUMNS     before the command starts when first, else a change
//	expect REGEXP         wait until new output matches
//	send "TEXT"           type, Go escapes
//	signal NAME           to the command
//	close                 hang up
//	exit N                the command must end now, with this code; -1: by a signal
//
// All output is in pty.out afterwards. The modes of the terminal must be the
// same after the command as before: that is checked every time.
func ptyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: pty FILE COMMAND ARG…")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	s, err := openSession(ts, lines)
	ts.Check(err)
	err = s.play(ts, lines, args[1:])
	if e := os.WriteFile(filepath.Join(ts.Getenv("WORK"), "pty.out"), s.out.bytes(), 0o600); err == nil {
		err = e
	}
	if err != nil {
		ts.Fatalf("pty: %v; output:\n%s", err, s.out.bytes())
	}
}

const ptyPatience = 20 * time.Second

type session struct {
	master, slave *os.File
	cmd           *exec.Cmd
	out           transcript
	ended         chan struct{}
	before        unix.Termios
	seen          int // bytes of output that expect has passed
}

func openSession(ts *testscript.TestScript, lines []string) (*session, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	if master, err = pollable(master); err != nil {
		return nil, err
	}
	s := &session{master: master, slave: slave, ended: make(chan struct{})}
	if size, ok := strings.CutPrefix(lines[0], "size "); ok {
		if err := s.resize(size); err != nil {
			return nil, err
		}
	}
	modes, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	s.before = *modes
	go io.Copy(&s.out, master) //nolint:errcheck // ends with the terminal
	ts.Defer(func() { master.Close(); slave.Close() })
	return s, nil
}

// pollable returns the file such that Close ends a Read of another goroutine, and
// so hangs up: a blocking descriptor would stay open until then.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func (s *session) play(ts *testscript.TestScript, lines, command []string) error {
	if err := s.start(ts, command); err != nil {
		return err
	}
	exited := false
	for _, line := range lines {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "" || word[0] == '#' {
			continue
		}
		if err := s.step(word, rest); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		exited = exited || word == "exit"
	}
	if !exited {
		return s.exit("0")
	}
	return nil
}

func (s *session) start(ts *testscript.TestScript, command []string) error {
	path := command[0]
	if !strings.Contains(path, "/") {
		path = filepath.Join(ts.Getenv("STAGE"), "bin", command[0])
		if _, err := os.Stat(path); err != nil {
			if path, err = exec.LookPath(command[0]); err != nil {
				return err
			}
		}
	}
	s.cmd = exec.Command(path, command[1:]...)
	s.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"WORK", "PATH", "HOME", "TMPDIR", "BRYO_ROOT", "USER", "LANG", "TERM", "REGISTRY", "BUSYBOX"} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.slave, s.slave, s.slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	return nil
}

func (s *session) step(word, rest string) error {
	switch word {
	case "size":
		return s.resize(rest)
	case "expect":
		return s.expect(rest)
	case "send":
		text, err := strconv.Unquote(rest)
		if err != nil {
			return err
		}
		_, err = s.master.WriteString(text)
		return err
	case "signal":
		return s.cmd.Process.Signal(unix.SignalNum(rest))
	case "close":
		return s.master.Close()
	case "exit":
		return s.exit(rest)
	}
	return errors.New("no such step")
}

func (s *session) resize(text string) error {
	var rows, columns uint16
	if _, err := fmt.Sscanf(text, "%dx%d", &rows, &columns); err != nil {
		return err
	}
	return unix.IoctlSetWinsize(int(s.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
}

func (s *session) expect(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(ptyPatience)
	for {
		fresh := s.out.bytes()[s.seen:]
		if at := re.FindIndex(fresh); at != nil {
			s.seen += at[1]
			return nil
		}
		select {
		case <-s.ended:
			time.Sleep(100 * time.Millisecond) // what is still on its way
			if at := re.FindIndex(s.out.bytes()[s.seen:]); at != nil {
				s.seen += at[1]
				return nil
			}
			return errors.New("the command ended before")
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.New("not seen")
		}
	}
}

// exit waits for the command and compares the modes of the terminal.
func (s *session) exit(want string) error {
	select {
	case <-s.ended:
	case <-time.After(ptyPatience):
		_ = s.cmd.Process.Kill()
		return errors.New("the command does not end")
	}
	if got := strconv.Itoa(s.cmd.ProcessState.ExitCode()); got != want {
		return fmt.Errorf("exit code %s, want %s", got, want)
	}
	if err := s.restored(); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond) // let the last output arrive
	return nil
}

// restored compares the modes. A command that was killed has them put back by
// another process, a moment later.
func (s *session) restored() error {
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		after, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
		if err != nil || *after == s.before {
			return nil // or hung up
		}
		if time.Now().After(end) {
			return fmt.Errorf("the terminal was not restored: %+v, before %+v", *after, s.before)
		}
	}
}

// transcript collects output that another goroutine reads meanwhile.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.b.Bytes())
}
