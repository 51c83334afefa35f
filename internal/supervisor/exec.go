package supervisor

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/rootfs/user"
	"bryo/sandbox"
)

// errNotRunning: the engine knew it as running, and it ended meanwhile.
var errNotRunning = errors.New("container is not running")

// execution is one exec'd process.
type execution struct {
	id      string
	process *sandbox.Process
	stdio   *stdio
	outputs outputs
	client  *client
}

// execute runs another process in the container: same namespaces, seccomp
// filter, capabilities and limits as its first (A65).
func (c *session) execute(e Exec, files []*os.File) error {
	run := &execution{
		id: state.NewID(), client: clientOf(Attach{Stdin: e.Stdin, Stdout: !e.Detach, Stderr: !e.Detach && !e.Tty}, files),
	}
	run.outputs.last = !e.Detach
	words := shownWords(e.Args)
	c.announce("exec_create: "+words, "execID", run.id)
	if err := c.begin(run, e); err != nil {
		run.client.close()
		return execFailure(e, err)
	}
	c.exec, c.terminal = run, (*unix.Termios)(e.Terminal)
	c.announce("exec_start: "+words, "execID", run.id)
	c.execs.Add(1)
	_ = c.control.Send(Message{Started: &Started{PID: run.process.PID()}})
	go func() {
		code := run.wait()
		c.announce("exec_die", "execID", run.id, "exitCode", strconv.Itoa(code))
		c.told.Store(true)
		_ = c.control.Send(Message{Exited: &Exited{Code: code, Lost: run.client.loss()}})
		run.leave()
		run.stdio.heardOut() // by who was left behind
		c.execs.Add(-1)
	}()
	return nil
}

// shownWords is the command as an event tells it, which has it twice in a line of 4 kB:
// what is longer would not be told at all.
func shownWords(args []string) string {
	const room = 1500 // in JSON
	words := strings.Join(args, " ")
	if len(words) > room {
		words = strings.ToValidUTF8(words[:room], "") + "…"
	}
	for quotedSize(words) > room {
		words = strings.ToValidUTF8(words[:len(words)*3/4], "") + "…"
	}
	return words
}

func quotedSize(s string) int {
	quoted, _ := json.Marshal(s)
	return len(quoted)
}

// execFailure has docker's exit codes of exec: 127 when something that was named
// is not there, 126 for what cannot be done with it.
func execFailure(e Exec, err error) *Failed {
	failed := failure(err)
	var exec *sandbox.ExecError
	switch {
	case errors.As(err, &exec):
	case errors.Is(err, errNotRunning):
		failed.Code = 1
	case strings.Contains(failed.Message, "chdir to cwd"): // libcontainer's words; the cause is its last one
		cause := failed.Message[strings.LastIndex(failed.Message, ": ")+2:]
		failed.Message, failed.Code = "working directory "+strconv.Quote(e.WorkDir)+": "+cause, 127
	default:
		failed.Code = 126
	}
	return failed
}

// begin starts the process on the main thread.
func (s *supervisor) begin(run *execution, e Exec) (err error) {
	if !s.onMain(func() { err = s.startExec(run, e) }) {
		return errNotRunning
	}
	return err
}

// wait returns the exit code when all output is passed on.
func (run *execution) wait() int {
	status, err := run.process.Wait()
	run.stdio.drain()
	if err != nil {
		return 137 // it ended with the container
	}
	return exitCode(status)
}

// leave closes the client's files: who waits for their end does not wait for us, and
// a child that is left holds nothing of his and can go on writing.
func (run *execution) leave() {
	run.outputs.leave()
	run.client.close()
}

func (s *supervisor) startExec(run *execution, e Exec) error {
	s.mu.Lock()
	box := s.sandbox
	s.mu.Unlock()
	if box == nil {
		return errNotRunning
	}
	spec, err := s.execSpec(e)
	if err != nil {
		return err
	}
	filter, err := s.filter(spec)
	if err != nil {
		return err
	}
	given := run.client
	if run.stdio, err = openStdio(ioPlan{tty: e.Tty, size: e.Size, stdin: e.Stdin, relay: true, mute: e.Detach}, given, &run.outputs); err != nil {
		run.stdio.discard()
		return err
	}
	run.process, err = box.Exec(sandbox.Config{
		ID: s.config.ID, Spec: spec, Filter: filter, Single: s.config.Mapping.Single, Owner: owner(s.config),
		Stdin: run.stdio.stdin, Stdout: run.stdio.stdout, Stderr: run.stdio.stderr, Console: run.stdio.console,
	})
	if err != nil {
		run.stdio.discard()
		return err
	}
	run.stdio.serve(run.process.Console)
	if e.Tty || given.stdin != run.stdio.stdin {
		run.stdio.feedInput(given.stdin, true)
	}
	return nil
}

// execSpec is the container's own spec with what the user gave for this process.
func (s *supervisor) execSpec(e Exec) (*specs.Spec, error) {
	config := *s.config
	config.Process.Args, config.Process.Tty = e.Args, e.Tty
	if e.User != "" {
		config.Process.User = e.User
	}
	if e.WorkDir != "" {
		config.Process.WorkDir = e.WorkDir
	}
	config.Process.Env = mergeEnv(config.Process.Env, e.Env)
	who := s.tree.user
	if e.User != "" {
		var err error
		who, err = user.Resolve(user.Request{
			Rootfs: s.tree.root, User: e.User, UIDs: mapped(config.Mapping.UIDs), GIDs: mapped(config.Mapping.GIDs),
		})
		if err != nil {
			return nil, err
		}
	}
	if e.Privileged {
		config.Host.Privileged = true
	}
	other := &supervisor{start: s.start, config: &config}
	return other.spec(&tree{root: s.tree.root, jail: s.tree.jail, user: who})
}

// mergeEnv lets later entries of the same name win.
func mergeEnv(base, more []string) []string {
	out := append([]string(nil), base...)
	for _, entry := range more {
		name := nameOf(entry)
		out = dropEnv(out, name)
		if name != entry { // a bare name takes the variable away, as docker
			out = append(out, entry)
		}
	}
	return out
}

func dropEnv(env []string, name string) []string {
	kept := env[:0]
	for _, entry := range env {
		if nameOf(entry) != name {
			kept = append(kept, entry)
		}
	}
	return kept
}

func nameOf(entry string) string {
	for i := range len(entry) {
		if entry[i] == '=' {
			return entry[:i]
		}
	}
	return entry
}
