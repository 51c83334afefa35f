package logs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeJournal takes entries as journald does.
func fakeJournal(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "journal") // short, as a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, socket
}

// receive reads one entry, from the datagram or the file that it carries.
func receive(t *testing.T, c *net.UnixConn) (fields map[string]string, inFile bool) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	data, control := make([]byte, 1<<20), make([]byte, 100)
	n, nc, _, _, err := c.ReadMsgUnix(data, control)
	if err != nil {
		t.Fatal(err)
	}
	data = data[:n]
	if nc > 0 {
		messages, err := unix.ParseSocketControlMessage(control[:nc])
		if err != nil {
			t.Fatal(err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fds[0]), "memfd")
		defer f.Close()
		seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
		if err != nil || seals&unix.F_SEAL_WRITE == 0 {
			t.Errorf("seals %x, %v", seals, err)
		}
		info, _ := f.Stat()
		data = make([]byte, info.Size())
		f.ReadAt(data, 0)
		inFile = true
	}
	fields = map[string]string{}
	for len(data) > 0 {
		key, rest, ok := strings.Cut(string(data), "\n")
		if !ok || len(rest) < 8 {
			t.Fatalf("not a field: %q", data)
		}
		size := binary.LittleEndian.Uint64([]byte(rest))
		fields[key] = rest[8 : 8+size]
		data = []byte(rest[8+size+1:])
	}
	delete(fields, "SYSLOG_TIMESTAMP")
	return fields, inFile
}

func TestJournal(t *testing.T) {
	c, socket := fakeJournal(t)
	config, err := mustParse(t, Journald, "labels=my.app").For(Container{
		ID: strings.Repeat("ab", 32), Name: "web", Image: "debian:12", Labels: map[string]string{"my.app": "shop"},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w, err := open(dir, config, socket, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w.Stream(Stdout), "hello\r\n\n")
	fmt.Fprint(w.Stream(Stderr), "unfinished")
	w.Close()
	base := map[string]string{
		"CONTAINER_ID": "abababababab", "CONTAINER_ID_FULL": strings.Repeat("ab", 32), "CONTAINER_NAME": "web",
		"CONTAINER_TAG": "abababababab", "SYSLOG_IDENTIFIER": "abababababab", "IMAGE_NAME": "debian:12", "MY_APP": "shop",
	}
	for _, more := range []map[string]string{
		{"PRIORITY": "6", "MESSAGE": "hello"},
		{"PRIORITY": "3", "MESSAGE": "unfinished", "CONTAINER_PARTIAL_MESSAGE": "true"},
	} {
		want := maps.Clone(base)
		maps.Copy(want, more)
		if got, _ := receive(t, c); !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	// The copy that the logs command reads.
	if got := read(t, dir, ReadOptions{Tail: All}); got != "hello\r\n\nunfinished" {
		t.Errorf("copy: %q", got)
	}
}

func TestJournalTakesWhatNoDatagramHolds(t *testing.T) {
	c, socket := fakeJournal(t)
	j, err := openJournal(socket, mustParse(t, Journald, "cache-disabled=true"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	// The buffer may be as small as the kernel has it for plain users.
	unix.SetsockoptInt(j.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
	text := strings.Repeat("x", maxChunk)
	j.entry(stdout, noon, []byte(text), true)
	if got, inFile := receive(t, c); got["MESSAGE"] != text || !inFile {
		t.Errorf("message of %d bytes, in a file: %v", len(got["MESSAGE"]), inFile)
	}
}

func TestJournalThatStandsStill(t *testing.T) {
	_, socket := fakeJournal(t) // nobody receives
	w, err := open(t.TempDir(), mustParse(t, Journald, "cache-disabled=true"), socket, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	start := time.Now()
	for range 20000 {
		fmt.Fprintln(w.Stream(Stdout), "x")
	}
	if took := time.Since(start); took > 3*time.Second || w.Dropped() == 0 {
		t.Errorf("the container waited %v, %d dropped", took, w.Dropped())
	}
}

func TestNoJournal(t *testing.T) {
	_, err := open(t.TempDir(), mustParse(t, Journald), filepath.Join(t.TempDir(), "none"), time.Now)
	if !errors.Is(err, ErrNoJournal) {
		t.Errorf("got %v", err)
	}
}
