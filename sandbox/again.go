package sandbox

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
)

// Again takes up a running container that an earlier image of this process started: pid
// is its first process, this process's child. console is its terminal's master or nil.
func Again(stateDir, id string, pid int, console *os.File) (*Container, error) {
	logrus.SetOutput(io.Discard) // as in Start
	container, err := libcontainer.Load(stateDir, id)
	if err != nil {
		return nil, fmt.Errorf("load container: %w", err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", pid, err)
	}
	return &Container{Process{container: container, again: process, init: true, Console: console}}, nil
}

func (s *Process) waitAgain() (syscall.WaitStatus, error) {
	state, err := s.again.Wait()
	if err != nil {
		return 0, fmt.Errorf("wait for container: %w", err)
	}
	return state.Sys().(syscall.WaitStatus), nil
}
