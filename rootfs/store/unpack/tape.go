package unpack

import (
	"archive/tar"
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// tape passes the archive to the tar reader and notes what is needed to give
// the same bytes again: everything but the contents of files, and for each of
// those its name, size and CRC-64. The form is that of tar-split (one JSON
// object a line), which containers/storage keeps beside each layer.
type tape struct {
	source   io.Reader
	read     int64 // bytes that came from the source
	notes    *bufio.Writer
	segment  []byte
	position int
	// Contents of the present file: counted and summed up, not noted.
	inPayload bool
	sum       *checksum
	err       error
}

// maxSegment is how much is noted at once: a header is 512 bytes, padding less.
const maxSegment = 1 << 20

func newTape(source io.Reader, notes io.Writer) *tape {
	t := &tape{source: source, sum: newChecksum()}
	if notes != nil {
		t.notes = bufio.NewWriterSize(notes, 256<<10)
	}
	return t
}

func (t *tape) Read(p []byte) (int, error) {
	n, err := t.source.Read(p)
	t.read += int64(n)
	if t.notes == nil {
		return n, err
	}
	if t.inPayload {
		t.sum.Write(p[:n])
		return n, err
	}
	t.segment = append(t.segment, p[:n]...)
	if len(t.segment) >= maxSegment {
		t.flush()
	}
	if t.err != nil {
		return n, t.err
	}
	return n, err
}

// payload runs copy, which is to read a file's contents from the archive, and
// notes the file. A sparse file's contents are in the archive in another form
// than on disk, so they are noted like a header.
func (t *tape) payload(header *tar.Header, copy func() error) error {
	if t.notes == nil || header.Size == 0 || isSparse(header) {
		return copy()
	}
	t.flush()
	t.sum.reset()
	t.inPayload = true
	err := copy()
	t.inPayload = false
	if err != nil {
		return err
	}
	t.file(header.Name, header.Size, t.sum.bytes())
	return t.err
}

// skip reads over the contents of an entry that is not kept as a file. It has
// none in any real archive.
func (t *tape) skip(header *tar.Header, archive *tar.Reader, m *meter) error {
	if header.Size > maxSegment {
		return fmt.Errorf("%d bytes in an entry that is no file: %w", header.Size, ErrLimit)
	}
	if err := m.spend(header.Size); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, struct{ io.Reader }{archive})
	return err
}

// drain reads what follows the end of the archive: padding, at most limit bytes.
func (t *tape) drain(limit int64) error {
	n, err := io.Copy(io.Discard, io.LimitReader(t, limit+1))
	if err != nil {
		return fmt.Errorf("read archive: %w", err)
	}
	if n > limit {
		return fmt.Errorf("more than %d bytes after the end of the archive: %w", limit, ErrLimit)
	}
	return nil
}

func (t *tape) close() error {
	if t.notes == nil {
		return nil
	}
	t.flush()
	if t.err != nil {
		return t.err
	}
	return t.notes.Flush()
}

// The entries are written by hand: a layer has as many as files, and
// encoding/json would be a tenth of the unpacking.

func (t *tape) flush() {
	if len(t.segment) == 0 {
		return
	}
	t.write(`{"type":2,"payload":"`, t.segment)
	t.segment = t.segment[:0]
}

func (t *tape) file(name string, size int64, sum []byte) {
	head := `{"type":1,`
	if utf8.ValidString(name) {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.err = err
			return
		}
		head += `"name":` + string(quoted)
	} else {
		head += `"name_raw":"` + base64.StdEncoding.EncodeToString([]byte(name)) + `"`
	}
	t.write(head+`,"size":`+strconv.FormatInt(size, 10)+`,"payload":"`, sum)
}

func (t *tape) write(head string, payload []byte) {
	t.notes.WriteString(head)
	t.notes.Write(base64.StdEncoding.AppendEncode(t.notes.AvailableBuffer(), payload))
	t.notes.WriteString(`","position":`)
	t.notes.WriteString(strconv.Itoa(t.position))
	if _, err := t.notes.WriteString("}\n"); err != nil && t.err == nil {
		t.err = err
	}
	t.position++
}
