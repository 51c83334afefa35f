package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/hostinfo"
	"bryo/internal/supervisor"
	"bryo/sandbox/userns"
)

// exit is an exit code that is not an error of ours: nothing is printed.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// runError is an error of run, create or exec: docker's codes 125, 126, 127.
type runError struct {
	code int
	err  error
}

func (e *runError) Error() string { return e.err.Error() }
func (e *runError) Unwrap() error { return e.err }

// creation marks an error as one before any program ran.
func creation(err error) error {
	var usage usageError
	var client clientError
	if err == nil || errors.As(err, &usage) || errors.As(err, &client) {
		return err
	}
	return &runError{125, err}
}

// exited turns the end of a foreground container into an exit code.
func exited(code int, err error) error {
	if errors.Is(err, engine.ErrDetached) {
		return nil
	}
	if errors.Is(err, engine.ErrOutput) {
		code = cmp.Or(code, 1)
	}
	if err != nil {
		return &runError{code, err}
	}
	if code == 0 {
		return nil
	}
	return exit(code)
}

// started is the error of a program that did not start: its code says why.
func started(err error) error {
	var failed *supervisor.Failed
	if errors.As(err, &failed) {
		return &runError{failed.Code, err}
	}
	return &runError{125, err}
}

// report prints an error as one line, its cure on the next one, and returns the
// exit code: 0, the container's own, 125 for usage and run, 64 for a template that
// is none, else 1.
func report(words []string, err error) int {
	if err == nil {
		return 0
	}
	var code exit
	if errors.As(err, &code) {
		dieAlike(int(code))
		return int(code)
	}
	complainEach(words, err)
	var run *runError
	var usage usageError
	var client clientError
	var template *format.SyntaxError
	switch {
	case errors.As(err, &run):
		return run.code
	case errors.As(err, &template):
		return 64
	case errors.As(err, &client):
		return 1
	case errors.As(err, &usage):
		return 125
	}
	return 1
}

// complainEach gives each of several errors its own line.
func complainEach(words []string, err error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			complainEach(words, one)
		}
		return
	}
	complain(prefix(words, err), err)
}

// complain prints one line, and the cure where there is one.
func complain(text string, err error) {
	fmt.Fprintf(os.Stderr, "bryo: %s\n", oneLine(text))
	if cure := cureOf(err); cure != "" {
		fmt.Fprintf(os.Stderr, "  %s\n", strings.ReplaceAll(cure, "\n", "\n  "))
	}
}

func prefix(words []string, err error) string {
	var usage usageError
	var client clientError
	if errors.As(err, &usage) || errors.As(err, &client) {
		return err.Error()
	}
	if v := verb(words); v != "" {
		return v + ": " + err.Error()
	}
	return err.Error()
}

// verb is the command of a line in canonical form.
func verb(words []string) string {
	for _, w := range words[1:] {
		if !strings.HasPrefix(w, "-") {
			return w
		}
	}
	return ""
}

// seeHelp begins the second line of a usage error.
const seeHelp = "\nSee '"

// oneLine keeps what a stranger wrote (image names, registry answers, the value of a
// flag) from moving the cursor, and an error to its line; usage errors bring a second one.
func oneLine(s string) string {
	s = strings.TrimRight(s, "\n")
	if at := strings.LastIndex(s, seeHelp); at >= 0 {
		return printable(s[:at]) + seeHelp + printable(s[at+len(seeHelp):])
	}
	return printable(s)
}

// printable shows control characters as escapes.
func printable(s string) string { return format.Cell(s) }

// cureOf is the one place that knows what helps.
func cureOf(err error) string {
	var setup *userns.SetupError
	var root *engine.RootError
	var limit *engine.LimitError
	switch {
	case errors.As(err, &limit):
		return strings.Join(limit.Cure, "\n")
	case errors.As(err, &setup):
		if errors.Is(setup, exec.ErrNotFound) {
			return "install newuidmap and newgidmap: sudo apt-get install uidmap. See docs/hosts.md#newuidmap"
		}
		return hostinfo.Explain(setup.Err, setup.Step)
	case errors.As(err, &root):
		return "name a directory of your own: bryo --root DIR, or BRYO_ROOT=DIR"
	}
	return ""
}

// dieAlike ends this process by the signal that ended the container, so that a
// shell loop around it stops at Ctrl-C as it does for a plain command. Only for
// signals that a terminal or a closed pipe sends.
func dieAlike(code int) {
	sig := syscall.Signal(code - 128)
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM, unix.SIGHUP:
	default:
		return
	}
	if !receivedSignal(sig) {
		return
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	signal.Reset(sig)
	_ = unix.Kill(os.Getpid(), sig)
}

// receivedSignal: this process got the signal too, it was not only the
// container that ended by one.
func receivedSignal(sig syscall.Signal) bool { return engine.Forwarded(sig) }
