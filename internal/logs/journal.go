package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/format"
	"bryo/internal/linux"
)

// patience is how long one entry may wait for a journal that takes nothing;
// then entries are dropped for pause before it is asked again.
const (
	patience = 200 * time.Millisecond
	pause    = time.Second
)

// journal is the sink that speaks to systemd-journald: one datagram per entry,
// its fields those of docker's driver. See systemd.io/JOURNAL_NATIVE_PROTOCOL.
type journal struct {
	fd      int
	to      *unix.SockaddrUnix
	fields  []byte // that every entry has
	message []byte
	stalled time.Time // until then nothing is sent
	lost    atomic.Int64
}

func openJournal(socket string, c Config) (*journal, error) {
	to := &unix.SockaddrUnix{Name: socket}
	if err := reachable(to); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoJournal, socket, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	// Large, as systemd's own clients have it; the kernel caps it silently.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20)
	return &journal{fd: fd, to: to, fields: journalFields(c)}, nil
}

// reachable connects a socket of its own: the one that sends stays unconnected
// and so survives a restart of journald.
func reachable(to *unix.SockaddrUnix) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, to)
}

func journalFields(c Config) []byte {
	var b []byte
	b = appendField(b, "CONTAINER_ID", format.ShortID(c.Container.ID))
	b = appendField(b, "CONTAINER_ID_FULL", c.Container.ID)
	b = appendField(b, "CONTAINER_NAME", c.Container.Name)
	b = appendField(b, "CONTAINER_TAG", c.Tag)
	b = appendField(b, "IMAGE_NAME", c.Container.Image)
	b = appendField(b, "SYSLOG_IDENTIFIER", c.Tag)
	for _, key := range sorted(c.Attrs) {
		b = appendField(b, journalKey(key), c.Attrs[key])
	}
	return b
}

// journalKey makes a field name: upper case letters, digits and underscores,
// the first no underscore (those are journald's own) and no digit.
func journalKey(key string) string {
	key = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	key = strings.TrimLeft(key, "_0123456789")
	return key[:min(len(key), 64)]
}

// appendField uses the form with a length, which any value fits.
func appendField[T string | []byte](b []byte, key string, value T) []byte {
	if key == "" || len(value) == 0 {
		return b
	}
	b = append(append(b, key...), '\n')
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	return append(append(b, value...), '\n')
}

func (j *journal) entry(s stream, at time.Time, text []byte, whole bool) {
	if len(text) == 0 || time.Now().Before(j.stalled) {
		// The journal has no empty messages.
		if len(text) > 0 {
			j.lost.Add(1)
		}
		return
	}
	priority := "6" // informational
	if s == stderr {
		priority = "3" // error
	}
	b := append(j.message[:0], j.fields...)
	b = appendField(b, "PRIORITY", priority)
	b = appendField(b, "SYSLOG_TIMESTAMP", at.UTC().Format(time.RFC3339Nano))
	if !whole {
		b = appendField(b, "CONTAINER_PARTIAL_MESSAGE", "true")
	}
	j.message = appendField(b, "MESSAGE", bytes.TrimSuffix(text, []byte{'\r'}))
	if err := j.send(); err != nil {
		j.lost.Add(1)
		j.stalled = time.Now().Add(pause)
	}
}

func (j *journal) send() error {
	deadline := time.Now().Add(patience)
	for {
		err := unix.Sendto(j.fd, j.message, unix.MSG_NOSIGNAL, j.to)
		switch {
		case errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.ENOBUFS):
			return j.sendFile()
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return err
		}
		// An unconnected socket's POLLOUT speaks of its own buffer, not of
		// the receiver's queue: hence the short sleep besides.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(j.fd), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
		time.Sleep(time.Millisecond)
	}
}

// sendFile passes what no datagram holds in a sealed file in memory.
func (j *journal) sendFile() error {
	fd, err := unix.MemfdCreate("journal-message", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	memory := os.NewFile(uintptr(fd), "journal-message")
	defer memory.Close()
	if _, err := memory.Write(j.message); err != nil {
		return err
	}
	if err := linux.Seal(memory); err != nil {
		return err
	}
	return unix.Sendmsg(j.fd, nil, unix.UnixRights(fd), j.to, unix.MSG_NOSIGNAL)
}

func (j *journal) flush() {}

func (j *journal) dropped() int64 { return j.lost.Load() }

func (j *journal) close() error { return unix.Close(j.fd) }
