package supervisor

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/internal/state"
)

// giveTree hands out a descriptor of the container's root: who copies files looks
// them up below it. It is O_PATH: it reads nothing, and leads nowhere by "..".
func (c *session) giveTree(which string) error {
	root, err := c.openTree(which)
	if err != nil {
		return err
	}
	defer root.Close()
	return c.control.Send(Message{Done: true}, root)
}

func (s *supervisor) openTree(which string) (*os.File, error) {
	s.mu.Lock()
	box, image := s.sandbox, s.tree.root
	s.mu.Unlock()
	if box == nil {
		return nil, errNotRunning
	}
	if which == TreeImage {
		return openRoot(image)
	}
	init := linux.RefProcess(box.PID())
	root, err := openRoot("/proc/" + strconv.Itoa(box.PID()) + "/root")
	// Looked at after the open: it is this very process's root.
	if err == nil && !(init.Alive() && s.pid() == init.PID) {
		root.Close()
		return nil, errNotRunning
	}
	return root, err
}

func openRoot(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open container root: %w", err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// hold pauses the container until the client says otherwise or is gone: a commit
// that is killed leaves no container behind that stands still. One that the user
// paused stays as it is.
func (c *session) hold() error {
	s := c.supervisor
	s.mu.Lock()
	phase := s.status.Phase
	s.mu.Unlock()
	shared := s.config.Host.PID != "" && s.config.Host.PID != "private"
	if phase != state.Paused && !c.held && !shared {
		if err := c.freeze(true); err != nil {
			return err
		}
		c.held = true
	}
	return c.control.Send(Message{Done: true, Held: c.held})
}
