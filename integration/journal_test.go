package integration

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// journalMain is the program fakejournal, which stands in for systemd-journald:
//
//	fakejournal SOCKET OUT
//
// It takes datagrams of the native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)
// and appends each entry to OUT as one line of quoted fields. What does not
// follow the protocol ends it with an error.
func journalMain() int {
	if err := serveJournal(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "fakejournal:", err)
		return 1
	}
	return 0
}

func serveJournal(socket, path string) error {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	data, control := make([]byte, 1<<20), make([]byte, 100)
	for {
		n, nc, _, _, err := c.ReadMsgUnix(data, control)
		if err != nil {
			return err
		}
		message := data[:n]
		if nc > 0 {
			if message, err = sealedFile(control[:nc]); err != nil {
				return err
			}
		}
		line, err := journalFields(message)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
}

// sealedFile reads an entry that came as a file in memory: journald takes only
// one that nobody can change any more.
func sealedFile(control []byte) ([]byte, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&want != want {
		return nil, fmt.Errorf("seals %x: %v", seals, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
}

// journalFields reads NAME=value lines and NAME, length, value.
func journalFields(data []byte) (string, error) {
	var fields []string
	for rest := string(data); rest != ""; {
		line, after, whole := strings.Cut(rest, "\n")
		if !whole {
			return "", errors.New("a field without end")
		}
		name, value, plain := strings.Cut(line, "=")
		if plain {
			rest = after
		} else {
			if len(after) < 8 {
				return "", errors.New("no length")
			}
			size := binary.LittleEndian.Uint64([]byte(after))
			if uint64(len(after)) < 8+size+1 || after[8+size] != '\n' {
				return "", errors.New("a length beyond the entry")
			}
			value, rest = after[8:8+size], after[8+size+1:]
		}
		fields = append(fields, fmt.Sprintf("%s=%q", name, value))
	}
	return strings.Join(fields, " "), nil
}
