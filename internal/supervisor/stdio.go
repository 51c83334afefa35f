package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/sandbox"
)

// stdio connects the container's descriptors with the supervisor's own, which
// are those of the user's command. Files and pipes are handed over as they are:
// binary-clean, no copy, no process between. A terminal is never handed over:
// whoever holds it can read the user's keys, and programs would behave as on a
// terminal that -t did not ask for.
type stdio struct {
	stdin, stdout, stderr *os.File // the container's ends
	console               *sandbox.Size
	own                   []*os.File // ends to close once the container has them
	copies                []chan struct{}
	relays                []func()
}

func openStdio(config *state.Config, size *Size) (*stdio, error) {
	s := &stdio{}
	if config.Process.Tty {
		s.console = &sandbox.Size{}
		if size != nil {
			*s.console = sandbox.Size(*size)
		}
		return s, nil
	}
	if err := s.openInput(config.Process.Stdin); err != nil {
		return s, err
	}
	var err error
	if s.stdout, err = s.output(os.Stdout); err != nil {
		return s, err
	}
	s.stderr, err = s.output(os.Stderr)
	return s, err
}

func (s *stdio) openInput(interactive bool) error {
	if !interactive {
		null, err := os.Open(os.DevNull)
		s.stdin = null
		s.own = append(s.own, null)
		return err
	}
	// A directory as descriptor 0 would be a way out of the container's root
	// (CVE-2024-21626).
	if info, err := os.Stdin.Stat(); err == nil && info.IsDir() {
		return errors.New("standard input: is a directory")
	}
	if !isTerminal(os.Stdin) {
		s.stdin = os.Stdin
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("create pipe: %w", err)
	}
	s.stdin, s.own = r, append(s.own, r)
	s.relays = append(s.relays, func() {
		go func() {
			_, _ = io.Copy(w, os.Stdin)
			w.Close()
		}()
	})
	return nil
}

func (s *stdio) output(to *os.File) (*os.File, error) {
	if info, err := to.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("standard output: is a directory")
	}
	if !isTerminal(to) {
		return to, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create pipe: %w", err)
	}
	s.own = append(s.own, w)
	s.relays = append(s.relays, func() { s.copy(to, r) })
	return w, nil
}

// serve starts copying; console is the terminal's master or nil.
func (s *stdio) serve(console *os.File) {
	for _, f := range s.own {
		f.Close()
	}
	for _, relay := range s.relays {
		relay()
	}
	if console == nil {
		return
	}
	go func() { _, _ = io.Copy(console, os.Stdin) }()
	s.copy(os.Stdout, console)
}

func (s *stdio) copy(to io.Writer, from io.Reader) {
	done := make(chan struct{})
	s.copies = append(s.copies, done)
	go func() {
		defer close(done)
		// A terminal's master reads EIO when its last slave is closed.
		_, _ = io.Copy(to, from)
	}()
}

// drainTime is how long output may still come after the container's first
// process ended: only a process outside its pid namespace (--pid=host) can hold
// the pipe any longer.
const drainTime = 2 * time.Second

// drain waits until all that the container wrote has been passed on.
func (s *stdio) drain() {
	timeout := time.After(drainTime)
	for _, done := range s.copies {
		select {
		case <-done:
		case <-timeout:
			return
		}
	}
}

// abandon closes what a failed start leaves open.
func (s *stdio) abandon() {
	if s == nil {
		return
	}
	for _, f := range s.own {
		f.Close()
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
