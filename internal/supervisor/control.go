package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"bryo/internal/codec"
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

// maxPacket is what goes as one packet; a longer message lies in a memory file that
// goes with the packet.
const maxPacket = 32 << 10

// maxMessage bounds a message. An Exec carries arguments and environment, which are at
// most 6 MiB for the kernel (execve(2)) and in JSON up to six times as long.
const maxMessage = 40 << 20

// maxFiles is how many files go with one message: stdin, stdout, stderr, and the
// message itself.
const maxFiles = 4

// Send writes one message; files go with it and stay open here.
func (c *Control) Send(m Message, files ...*os.File) error {
	data, err := codec.Marshal(&m)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("control socket: message of %d bytes, at most %d", len(data), maxMessage)
	}
	if len(data) > maxPacket {
		long, err := memoryFile(data)
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		defer long.Close()
		data, files = []byte{inMemoryFile}, append(files[:len(files):len(files)], long)
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

// inMemoryFile is the packet of a message that lies in the last of its files.
const inMemoryFile = 'M'

func memoryFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("message", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "message")
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Receive waits for one message; io.EOF when the other side is gone. The caller
// closes the files.
func (c *Control) Receive() (m Message, files []*os.File, err error) {
	data, files, err := c.packet()
	if err == nil && len(data) == 1 && data[0] == inMemoryFile {
		data, files, err = readMemoryFile(files)
	}
	if err == nil {
		if err = codec.Unmarshal(data, &m); err != nil {
			err = fmt.Errorf("control socket: %w", err)
		}
	}
	if err != nil {
		linux.CloseAll(files)
		return m, nil, err
	}
	return m, files, nil
}

// packet asks for the length first: who waits holds no buffer.
func (c *Control) packet() (data []byte, files []*os.File, err error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var controlLen int
	var receiveErr error
	control := make([]byte, unix.CmsgSpace(4*maxFiles))
	err = raw.Read(func(fd uintptr) bool {
		var n int
		if n, _, _, _, receiveErr = unix.Recvmsg(int(fd), nil, nil, unix.MSG_PEEK|unix.MSG_TRUNC); receiveErr != nil || n == 0 {
			return !errors.Is(receiveErr, unix.EAGAIN)
		}
		data = make([]byte, min(n, maxPacket))
		n, controlLen, _, _, receiveErr = unix.Recvmsg(int(fd), data, control, unix.MSG_CMSG_CLOEXEC)
		data = data[:max(n, 0)]
		return !errors.Is(receiveErr, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return nil, nil, err
	case errors.Is(receiveErr, unix.ECONNRESET), receiveErr == nil && len(data) == 0:
		return nil, nil, io.EOF
	case receiveErr != nil:
		return nil, nil, receiveErr
	}
	return data, linux.Received(control[:controlLen]), nil
}

// readMemoryFile takes the message out of the last file.
func readMemoryFile(files []*os.File) ([]byte, []*os.File, error) {
	if len(files) == 0 {
		return nil, nil, errors.New("control socket: a long message without its file")
	}
	last := len(files) - 1
	defer files[last].Close()
	info, err := files[last].Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxMessage {
		return nil, files[:last], errors.New("control socket: a long message in no such file")
	}
	data := make([]byte, info.Size())
	if _, err := files[last].ReadAt(data, 0); err != nil {
		return nil, files[:last], fmt.Errorf("control socket: %w", err)
	}
	return data, files[:last], nil
}

// Close ends the conversation.
func (c *Control) Close() error { return c.file.Close() }
