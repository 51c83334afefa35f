package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// consoleSocket takes the terminal's master from libcontainer's init, which
// allocates the pair inside the container's own devpts.
type consoleSocket struct{ ours, theirs *os.File }

func (s *Process) attachConsole(size *Size) (*consoleSocket, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("create terminal: socketpair: %w", err)
	}
	c := &consoleSocket{os.NewFile(uintptr(pair[0]), "console"), os.NewFile(uintptr(pair[1]), "console")}
	s.process.ConsoleSocket = c.theirs
	s.process.ConsoleWidth, s.process.ConsoleHeight = size.Width, size.Height
	return c, nil
}

func (c *consoleSocket) close() {
	c.ours.Close()
	c.theirs.Close()
}

func (c *consoleSocket) master() (*os.File, error) {
	name, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(c.ours.Fd()), name, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create terminal: receive: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("create terminal: receive: no descriptor (%v)", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("create terminal: receive: no descriptor (%v)", err)
	}
	// Non-blocking, so that the Go poller serves it and closing ends reads.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("create terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "console"), nil
}
