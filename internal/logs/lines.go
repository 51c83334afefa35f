package logs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// readSize is how much of a file is read at once.
const readSize = 64 << 10

// lines reads one file of a log line by line, also while it grows.
type lines struct {
	numbered
	file   *os.File
	unpack io.Reader // of a packed file
	offset int64     // in a plain file: of the bytes after buffer[:end]
	limit  int64     // no byte at or after this offset is read; -1: none

	buffer     []byte
	start, end int // what is not consumed
	skipping   bool
}

// openLines opens a file of a log, plain or packed, whichever there is.
func openLines(dir string, number int, offset, limit int64) (*lines, error) {
	l := &lines{numbered: numbered{number: number}, offset: offset, limit: limit}
	var err error
	// It may be packed between two looks, but only once.
	for _, l.packed = range []bool{false, true} {
		l.file, err = os.Open(l.path(dir))
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if l.packed {
		if l.unpack, err = gzip.NewReader(l.file); err != nil {
			l.file.Close()
			return nil, err
		}
	}
	return l, nil
}

// next returns a line without its newline; ok is false at the end of what is
// there now. A line longer than maxLine reads as an empty one.
func (l *lines) next() (line []byte, ok bool, err error) {
	searched := l.start
	for {
		if n := bytes.IndexByte(l.buffer[searched:l.end], '\n'); n >= 0 {
			line = l.buffer[l.start : searched+n]
			l.start = searched + n + 1
			if l.skipping {
				l.skipping, line = false, nil
			}
			return line, true, nil
		}
		if l.end-l.start > maxLine {
			l.start, l.skipping = l.end, true
		}
		pending := l.end - l.start
		n, err := l.fill()
		searched = l.start + pending
		if err != nil || n == 0 {
			return nil, false, err
		}
	}
}

// fill reads on; n is 0 at the end.
func (l *lines) fill() (n int, err error) {
	l.end = copy(l.buffer, l.buffer[l.start:l.end])
	l.start = 0
	if len(l.buffer)-l.end < readSize {
		l.buffer = append(l.buffer[:l.end], make([]byte, max(l.end, 2*readSize))...)
	}
	space := l.buffer[l.end:]
	if l.packed {
		n, err = l.unpack.Read(space)
		for n == 0 && err == nil {
			n, err = l.unpack.Read(space)
		}
	} else {
		if l.limit >= 0 {
			space = space[:max(0, min(int64(len(space)), l.limit-l.offset))]
		}
		if len(space) > 0 {
			n, err = l.file.ReadAt(space[:min(len(space), readSize)], l.offset)
		}
	}
	l.offset += int64(n)
	l.end += n
	if n > 0 || errors.Is(err, io.EOF) {
		return n, nil
	}
	return n, err
}

// discard skips the first bytes of a packed file.
func (l *lines) discard(n int64) error {
	_, err := io.CopyN(io.Discard, l.unpack, n)
	return err
}

// torn is what follows the last newline.
func (l *lines) torn() []byte { return l.buffer[l.start:l.end] }

// forgetTorn has it read again: a writer that ran out of space cuts it off and
// writes something else there.
func (l *lines) forgetTorn() {
	if !l.packed {
		l.offset -= int64(l.end - l.start)
		l.start, l.end = 0, 0
	}
}

// gone tells that the file has been removed.
func (l *lines) gone() bool {
	info, err := l.file.Stat()
	if err != nil {
		return true
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink == 0
}

func (l *lines) close() { l.file.Close() }

// backwards visits the whole lines before size, the last first, until visit
// returns false; end is the offset behind the line's newline. Lines longer than
// maxLine are left out.
func backwards(file io.ReaderAt, size int64, visit func(line []byte, end int64) bool) error {
	var (
		at, end = size, size // of the line that is being put together
		line    []byte       // what of it has been read
		whole   bool         // it ends with a newline
		long    bool         // it is beyond maxLine
	)
	for at > 0 {
		n := min(at, readSize)
		at -= n
		block := make([]byte, n, int(n)+len(line))
		if _, err := file.ReadAt(block, at); err != nil {
			return err
		}
		line = append(block, line...)
		for i := bytes.LastIndexByte(line[:n], '\n'); i >= 0; i = bytes.LastIndexByte(line[:i], '\n') {
			if whole && !long && !visit(line[i+1:len(line)-1], end) {
				return nil
			}
			line, end, whole, long = line[:i+1], at+int64(i)+1, true, false
		}
		if len(line) > maxLine {
			line, long = nil, true
		}
	}
	if whole && !long {
		visit(line[:len(line)-1], end)
	}
	return nil
}
