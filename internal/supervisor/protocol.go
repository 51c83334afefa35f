// Package supervisor is the process that each container has: root of the
// container's user namespace, with a private mount namespace, in the host's
// network namespace. It mounts the root, starts the sandbox, serves stdio and
// records how the container ended.
//
// Start reading at Main; protocol.go has its conversation with the CLI. What it
// leaves out: choosing an image or an id map (package engine).
package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Role is the name under which the supervisor's process starts.
const Role = "supervisor"

// Message is one packet of the control socket between the CLI and the
// supervisor, in either direction. The socket is SOCK_SEQPACKET: a packet is a
// message. End of file means that the other side is gone.
//
//	CLI                         supervisor
//	Start            ──────────►  mounts, starts
//	                 ◄──────────  Started, or Failed
//	Signal, Resize   ──────────►
//	                 ◄──────────  Exited, or Failed
type Message struct {
	Start   *Start   `json:"start,omitempty"`
	Signal  int      `json:"signal,omitempty"`
	Resize  *Size    `json:"resize,omitempty"`
	Started *Started `json:"started,omitempty"`
	Exited  *Exited  `json:"exited,omitempty"`
	Failed  *Failed  `json:"failed,omitempty"`
}

// Start names the container to run.
type Start struct {
	Root string `json:"root"`
	ID   string `json:"id"`
	Size *Size  `json:"size,omitempty"` // of the user's terminal, with -t
	// Foreground: the container ends with the control socket.
	Foreground bool `json:"foreground,omitempty"`
}

// Size of a terminal in characters.
type Size struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Started: the user's program was executed.
type Started struct {
	PID int `json:"pid"` // on the host
}

// Exited: the program ended; 128+n for a signal.
type Exited struct {
	Code int `json:"code"`
}

// Failed: the container did not start. Code is docker's: 125 bryo, 126 cannot
// execute, 127 not found.
type Failed struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
}

func (f *Failed) Error() string { return f.Message }

// Control is one end of the socket. Send may be called from several goroutines.
type Control struct {
	file *os.File
	mu   sync.Mutex
}

// NewControlPair returns the CLI's end and the file for the supervisor.
func NewControlPair() (*Control, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	ours, err := newControl(pair[0])
	if err != nil {
		unix.Close(pair[1])
		return nil, nil, err
	}
	return ours, os.NewFile(uintptr(pair[1]), "control"), nil
}

// newControl makes the descriptor non-blocking, so that the Go poller serves it.
func newControl(fd int) (*Control, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("control socket: %w", err)
	}
	unix.CloseOnExec(fd)
	return &Control{file: os.NewFile(uintptr(fd), "control")}, nil
}

// maxMessage bounds a packet; a Start is below 1 kB, a Failed a few lines.
const maxMessage = 64 << 10

// Send writes one message.
func (c *Control) Send(m Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("control socket: message of %d bytes", len(data))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.file.Write(data)
	return err
}

// Receive waits for one message; io.EOF when the other side is gone.
func (c *Control) Receive() (Message, error) {
	var m Message
	buffer := make([]byte, maxMessage)
	n, err := c.file.Read(buffer)
	if err != nil {
		if errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
		return m, err
	}
	if n == 0 {
		return m, io.EOF
	}
	return m, json.Unmarshal(buffer[:n], &m)
}

// Close ends the conversation.
func (c *Control) Close() error { return c.file.Close() }
