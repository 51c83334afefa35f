package supervisor

import (
	"errors"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"bryo/rootfs/user"
	"bryo/sandbox"
)

// execution is one exec'd process.
type execution struct {
	process *sandbox.Process
	stdio   *stdio
	outputs outputs
}

// execute runs another process in the container: same namespaces, seccomp
// filter, capabilities and limits as its first (A65).
func (c *session) execute(e Exec, files []*os.File) error {
	given := clientOf(Attach{Stdin: e.Stdin, Stdout: !e.Detach, Stderr: !e.Detach && !e.Tty}, files)
	run := &execution{}
	var err error
	if !c.onMain(func() { err = c.startExec(run, e, given) }) {
		err = errors.New("container is not running")
	}
	if err != nil {
		closeAll(files)
		return err
	}
	c.exec = run
	_ = c.control.Send(Message{Started: &Started{PID: run.process.PID()}})
	go func() {
		status, err := run.process.Wait()
		code := exitCode(status)
		if err != nil {
			code = 137 // it ended with the container
		}
		run.stdio.drain()
		_ = c.control.Send(Message{Exited: &Exited{Code: code}})
	}()
	return nil
}

func (c *session) startExec(run *execution, e Exec, given *client) error {
	c.mu.Lock()
	box := c.sandbox
	c.mu.Unlock()
	if box == nil {
		return errors.New("container is not running")
	}
	spec, err := c.execSpec(e)
	if err != nil {
		return err
	}
	filter, err := c.filter(spec)
	if err != nil {
		return err
	}
	run.outputs.last = true
	if run.stdio, err = openStdio(ioPlan{tty: e.Tty, size: e.Size, stdin: e.Stdin}, given, &run.outputs); err != nil {
		run.stdio.closeHanded()
		return err
	}
	run.process, err = box.Exec(sandbox.Config{
		ID: c.config.ID, Spec: spec, Filter: filter, Single: c.config.Mapping.Single, Owner: owner(c.config),
		Stdin: run.stdio.stdin, Stdout: run.stdio.stdout, Stderr: run.stdio.stderr, Console: run.stdio.console,
	})
	if err != nil {
		run.stdio.closeHanded()
		return err
	}
	run.stdio.serve(run.process.Console)
	if e.Tty || given.stdin != run.stdio.stdin {
		run.stdio.feedInput(given.stdin, true)
	}
	return nil
}

// execSpec is the container's own spec with what the user gave for this process.
func (c *session) execSpec(e Exec) (*specs.Spec, error) {
	config := *c.config
	config.Process.Args, config.Process.Tty = e.Args, e.Tty
	if e.User != "" {
		config.Process.User = e.User
	}
	if e.WorkDir != "" {
		config.Process.WorkDir = e.WorkDir
	}
	config.Process.Env = mergeEnv(config.Process.Env, e.Env)
	who := c.tree.user
	if e.User != "" {
		var err error
		who, err = user.Resolve(user.Request{
			Rootfs: c.tree.root, User: e.User, UIDs: mapped(config.Mapping.UIDs), GIDs: mapped(config.Mapping.GIDs),
		})
		if err != nil {
			return nil, err
		}
	}
	if e.Privileged {
		config.Host.Privileged = true
	}
	other := &supervisor{start: c.start, config: &config}
	return other.spec(&tree{root: c.tree.root, user: who})
}

// mergeEnv lets later entries of the same name win.
func mergeEnv(base, more []string) []string {
	out := append([]string(nil), base...)
	for _, entry := range more {
		out = append(dropEnv(out, nameOf(entry)), entry)
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
