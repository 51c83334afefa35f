package supervisor

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func controlPair(t *testing.T) (a, b *Control) {
	t.Helper()
	a, file, err := NewControlPair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = NewControl(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// Messages of every length arrive as they were, with their files and no more.
func TestControlMessages(t *testing.T) {
	a, b := controlPair(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, length := range []int{0, 100, maxPacket - 100, maxPacket, 160 << 10, 7 << 20} {
		want := strings.Repeat("x", length)
		if err := a.Send(Message{Failed: &Failed{Message: want}}, null, null, null); err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		m, files, err := b.Receive()
		if err != nil || m.Failed == nil || m.Failed.Message != want || len(files) != 3 {
			t.Errorf("%d bytes: %d files, %v", length, len(files), err)
		}
		for _, f := range files {
			f.Close()
		}
	}
	if err := a.Send(Message{Failed: &Failed{Message: strings.Repeat("x", maxMessage)}}); err == nil {
		t.Error("a message without bound was sent")
	}
	a.Close()
	if _, _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

// Bad packets are errors, and none waits for what does not come.
func TestControlBadPackets(t *testing.T) {
	a, b := controlPair(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	huge, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer huge.Close()
	if err := huge.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data  string
		files []int
	}{
		"no JSON":       {"{", nil},
		"no file":       {"M", nil},
		"a pipe":        {"M", []int{int(reader.Fd())}},
		"a huge file":   {"M", []int{int(huge.Fd())}},
		"a long packet": {strings.Repeat("x", maxPacket+10), nil},
	} {
		var rights []byte
		if c.files != nil {
			rights = unix.UnixRights(c.files...)
		}
		if err := unix.Sendmsg(int(a.file.Fd()), []byte(c.data), rights, nil, 0); err != nil {
			t.Fatal(err)
		}
		if _, files, err := b.Receive(); err == nil || errors.Is(err, io.EOF) || files != nil {
			t.Errorf("%s: %v, %v", name, files, err)
		}
	}
}
