package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// Control is one end of a control socket. Send may be called from several
// goroutines, Receive from one.
type Control struct {
	file *os.File
	mu   sync.Mutex
}

// NewControlPair returns the CLI's end and the file for a new supervisor.
func NewControlPair() (*Control, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	ours, err := NewControl(pair[0])
	if err != nil {
		unix.Close(pair[1])
		return nil, nil, err
	}
	return ours, os.NewFile(uintptr(pair[1]), "control"), nil
}

// Dial connects to the supervisor that listens at path. A socket address has
// room for 107 bytes; the way through the directory's descriptor needs 40.
func Dial(path string) (*Control, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: throughDir(dir, path)}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return NewControl(fd)
}

// listen opens the socket at path for clients.
func listen(path string) (int, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	os.Remove(path) // of a supervisor that was killed
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: throughDir(dir, path)}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	const backlog = 128 // more clients at one instant wait in connect
	if err := unix.Listen(fd, backlog); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("listen", err)
	}
	return fd, nil
}

func throughDir(dir int, path string) string {
	return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)
}

// NewControl takes over the descriptor of one end and makes it non-blocking, so
// that the Go poller serves it.
func NewControl(fd int) (*Control, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("control socket: %w", err)
	}
	unix.CloseOnExec(fd)
	return &Control{file: os.NewFile(uintptr(fd), "control")}, nil
}

// maxMessage bounds a packet. An Exec carries arguments and environment.
const maxMessage = 160 << 10

// maxFiles is how many files go with one message: stdin, stdout, stderr.
const maxFiles = 3

// Send writes one message; files go with it and stay open here.
func (c *Control) Send(m Message, files ...*os.File) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("control socket: message of %d bytes, at most %d", len(data), maxMessage)
	}
	rights := linux.Rights(files)
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), data, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	return errors.Join(err, sendErr)
}

// Receive waits for one message; io.EOF when the other side is gone. The caller
// closes the files.
func (c *Control) Receive() (m Message, files []*os.File, err error) {
	buffer, control := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFiles))
	raw, err := c.file.SyscallConn()
	if err != nil {
		return m, nil, err
	}
	var n, controlLen int
	var receiveErr error
	err = raw.Read(func(fd uintptr) bool {
		n, controlLen, _, _, receiveErr = unix.Recvmsg(int(fd), buffer, control, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(receiveErr, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return m, nil, err
	case errors.Is(receiveErr, unix.ECONNRESET), receiveErr == nil && n == 0:
		return m, nil, io.EOF
	case receiveErr != nil:
		return m, nil, receiveErr
	}
	files = linux.Received(control[:controlLen])
	if err := json.Unmarshal(buffer[:n], &m); err != nil {
		linux.CloseAll(files)
		return m, nil, fmt.Errorf("control socket: %w", err)
	}
	return m, files, nil
}

// Close ends the conversation.
func (c *Control) Close() error { return c.file.Close() }
