package bridge

/*
// keep.c; the constructor needs no call.
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// Hold keeps a network's helper from ending until a supervisor has its own
// connection.
type Hold struct{ conn conn }

// Release lets go of it.
func (h *Hold) Release() {
	if h != nil {
		h.conn.Close()
	}
}

// Ensure starts the network's helper unless there is one. It returns before the
// helper is ready: who attaches waits for that. It runs in the command line: the
// helper is its child's child and must not be in a user namespace below.
func Ensure(dir string) (*Hold, error) {
	name := filepath.Base(dir)
	lock, err := lockStart(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	c, err := dialLiving(dir)
	if absent(err) {
		if err = start(dir); err == nil {
			c, err = dial(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("network %s: start helper: %w", name, err)
	}
	return &Hold{c}, nil
}

// deathTime is what a killed helper may take to let go of its socket, and what one that
// is busy may take to answer.
const deathTime = time.Second

// dialLiving does not take the socket of a helper that was killed a moment ago for one.
// One that hangs is as good as one that is at work: who attaches says so.
func dialLiving(dir string) (conn, error) {
	for end := time.Now().Add(deathTime); ; time.Sleep(5 * time.Millisecond) {
		c, err := dial(dir)
		if err != nil {
			return c, err
		}
		_ = c.SetDeadline(time.Now().Add(deathTime))
		_, err = c.ask(message{Lookup: "."})
		cut := errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
		if !cut || time.Now().After(end) {
			return c, c.SetDeadline(time.Time{})
		}
		c.Close()
	}
}

// start runs the keeper with a listening socket; it holds nothing else of ours.
func start(dir string) error {
	listener, err := listen(dir)
	if err != nil {
		return err
	}
	defer listener.Close()
	log, err := os.OpenFile(filepath.Join(dir, "helper.log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"bryo", Role, dir}
	cmd.Env = []string{envRole + "=" + Role, envKeep + "=" + dir}
	cmd.Dir = "/"
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{listener}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := linux.StartUnstopped(cmd); err != nil {
		return err
	}
	return cmd.Process.Release()
}

var errHangs = errors.New("has a helper that does not answer: bryo system check --repair ends it")

// retire ends the helper of a network that nobody is attached to. The caller holds
// the start lock.
func retire(dir string) error {
	c, err := dial(dir)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * retireTime))
	_, err = c.ask(message{Retire: true})
	switch {
	case errors.Is(err, unix.ECONNRESET):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errHangs
	}
	return err
}
