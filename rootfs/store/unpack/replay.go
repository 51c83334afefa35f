package unpack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// note is one line of the notes that Unpack writes.
type note struct {
	Type    int    `json:"type"`
	Name    string `json:"name"`
	NameRaw []byte `json:"name_raw"`
	Size    int64  `json:"size"`
	Payload []byte `json:"payload"`
}

// copyBuffer is the size of the reads of large files.
const copyBuffer = 256 << 10

// Replay writes the layer's archive again, the same bytes that Unpack read,
// from its directory and the notes (plain JSON lines). Files are opened inside
// dir only, without following a symlink at the end, and must be regular: the
// names are the archive's, and a FIFO would block for ever.
func Replay(notes io.Reader, dir string, w io.Writer) error {
	top, err := openRoot(dir)
	if err != nil {
		return err
	}
	defer top.close()
	buffer := make([]byte, copyBuffer)
	decoder := json.NewDecoder(notes)
	for {
		var n note
		if err := decoder.Decode(&n); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read notes of the layer: %w", err)
		}
		if n.Type == 2 {
			if _, err := w.Write(n.Payload); err != nil {
				return err
			}
		} else if n.Size > 0 {
			if err := replayFile(top, &n, w, buffer); err != nil {
				return err
			}
		}
	}
}

func replayFile(top *root, n *note, w io.Writer, buffer []byte) error {
	name := n.Name
	if len(n.NameRaw) > 0 {
		name = string(n.NameRaw)
	}
	file, err := openRegular(top, strings.TrimPrefix(path.Clean("/"+name), "/"))
	if err != nil {
		return fmt.Errorf("layer file %.200q: %w", name, err)
	}
	defer file.Close()
	sum := newChecksum()
	source := struct{ io.Reader }{io.LimitReader(file, n.Size+1)}
	written, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, sum)}, source, buffer)
	if err != nil {
		return fmt.Errorf("layer file %.200q: %w", name, err)
	}
	if written != n.Size || !bytes.Equal(sum.bytes(), n.Payload) {
		return fmt.Errorf("layer file %.200q: changed since it was unpacked", name)
	}
	return nil
}

func openRegular(top *root, name string) (*os.File, error) {
	fd, err := top.open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, errors.New("not a regular file")
	}
	return os.NewFile(uintptr(fd), name), nil
}
