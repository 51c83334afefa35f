package logs

import (
	"errors"
	"io/fs"
	"os"
)

// place is where reading begins.
type place struct {
	number int
	offset int64 // in a plain file
	skip   int   // lines to leave out in a packed one
}

// tail counts lines from the end. A line may lie in several entries, with those
// of the other stream between.
type tail struct {
	left int
	open map[string]bool // the line of this stream that was counted may have begun before
}

// includes tells whether the entry before those that it was asked of belongs to
// the tail.
func (t *tail) includes(e *Entry) bool {
	if !e.Whole() && t.open[e.Stream] {
		return true
	}
	if t.left == 0 {
		return false
	}
	t.left--
	t.open[e.Stream] = true
	return true
}

// findTail finds where the last n lines begin, without reading what lies before
// (of a packed file: all of it).
func findTail(dir string, files []numbered, n int) (place, error) {
	t := &tail{left: n, open: map[string]bool{}}
	begin := place{number: files[0].number}
	for i := len(files) - 1; i >= 0; i-- {
		at, inside, err := t.in(dir, files[i])
		if errors.Is(err, fs.ErrNotExist) {
			break // removed meanwhile, with all before it
		}
		if err != nil {
			return begin, err
		}
		begin = at
		if inside {
			break
		}
	}
	return begin, nil
}

// in looks for the begin in one file; inside tells that it is there, else the
// whole file belongs to the tail.
func (t *tail) in(dir string, f numbered) (at place, inside bool, err error) {
	if !f.packed {
		at, inside, err = t.inPlain(dir, f)
		if !errors.Is(err, fs.ErrNotExist) {
			return at, inside, err
		}
	}
	return t.inPacked(dir, f.number)
}

func (t *tail) inPlain(dir string, f numbered) (at place, inside bool, err error) {
	at.number = f.number
	file, err := os.Open(numbered{number: f.number}.path(dir))
	if err != nil {
		return at, false, err
	}
	defer file.Close()
	var e Entry
	err = backwards(file, f.size, func(line []byte, end int64) bool {
		if !e.parse(line) || t.includes(&e) {
			return true
		}
		at.offset, inside = end, true
		return false
	})
	return at, inside, err
}

// inPacked counts what is in the file first, as it cannot be read backwards.
func (t *tail) inPacked(dir string, number int) (at place, inside bool, err error) {
	at.number = number
	l, err := openLines(dir, number, 0, -1)
	if err != nil {
		return at, false, err
	}
	defer l.close()
	var e Entry
	whole := 0
	for {
		line, ok, err := l.next()
		if err != nil || !ok {
			break // what can be unpacked counts
		}
		if e.parse(line) && e.Whole() {
			whole++
		}
	}
	if whole <= t.left {
		t.left -= whole
		return at, false, nil
	}
	at.skip = whole - t.left
	return at, true, nil
}
