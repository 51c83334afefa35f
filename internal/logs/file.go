package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// writeSize is when a batch is written before it is complete: it bounds
	// memory, and write(2) gets no faster with more.
	writeSize = 64 << 10
	// retryAfter is the pause before something that failed is tried again.
	retryAfter = time.Second
)

// file is the sink of the file drivers. It never calls fsync: a log that makes
// the container wait for the disk is worse than one that lacks the last seconds
// before a power loss.
type file struct {
	dir    string
	config Config
	now    clock
	encode *encoder
	lock   *os.File // the directory, see followed

	mu     sync.Mutex // callers come one at a time, but for the timer and the compressor
	kept   []numbered // the files on disk, the written one last
	out    output
	size   int64 // of out
	batch  []byte
	closed bool

	losses      losses
	rotateAfter time.Time // no earlier attempt, as the last one failed
	compressor  compressor
}

// output is what file needs of an *os.File; tests put a full disk here.
type output interface {
	Write([]byte) (int, error)
	Truncate(size int64) error
	Close() error
}

// losses are entries that could not be written and have not been told of yet.
type losses struct {
	pending int64
	total   int64
	cause   error
	retry   *time.Timer
}

func openFile(dir string, c Config, now clock) (*file, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	encode, err := newEncoder(c.Attrs)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	f := &file{dir: dir, config: c, now: now, encode: encode, lock: lock}
	if err := f.resume(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// resume goes on where an earlier writer stopped, however it stopped.
func (f *file) resume() error {
	removeUnfinished(f.dir)
	kept, err := list(f.dir)
	if err != nil {
		return err
	}
	f.kept = kept
	if n := len(kept); n == 0 || kept[n-1].packed {
		return f.create(f.last() + 1)
	}
	current := &f.kept[len(f.kept)-1]
	out, err := os.OpenFile(current.path(f.dir), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := mendEnd(out); err != nil {
		out.Close()
		return err
	}
	info, err := out.Stat()
	if err != nil {
		out.Close()
		return err
	}
	f.out, f.size = out, info.Size()
	f.prune()
	return nil
}

func (f *file) last() int {
	if len(f.kept) == 0 {
		return 0
	}
	return f.kept[len(f.kept)-1].number
}

// create makes the file of a number and writes to it from now on.
func (f *file) create(number int) error {
	next := numbered{number: number}
	out, err := os.OpenFile(next.path(f.dir), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if f.out != nil {
		f.out.Close()
	}
	f.kept = append(f.kept, next)
	f.out, f.size = out, 0
	pointTo(f.dir, next)
	return nil
}

// pointTo sets the link container.log, for people and their tail -F: nothing of
// bryo reads it, so it may fail.
func pointTo(dir string, n numbered) {
	temporary := filepath.Join(dir, currentName+temporarySuffix)
	if os.Symlink(n.name(), temporary) == nil {
		_ = os.Rename(temporary, filepath.Join(dir, currentName))
	}
}

// mendEnd cuts off a line that an earlier writer did not finish (kill -9 in
// write(2), power loss): what is appended would otherwise be lost with it.
func mendEnd(out *os.File) error {
	info, err := out.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	tail := make([]byte, min(size, maxLine))
	if _, err := out.ReadAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	switch {
	case end == len(tail):
		return nil
	case end > 0 || size <= maxLine:
		return out.Truncate(size - int64(len(tail)-end))
	}
	_, err = out.Write([]byte{'\n'})
	return err
}

func (f *file) entry(s stream, at time.Time, text []byte, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// As docker: a file ends with the entry that reaches the limit.
	if f.config.MaxSize > 0 && f.size+int64(len(f.batch)) >= f.config.MaxSize {
		f.write()
		f.rotate()
	}
	f.batch = f.encode.append(f.batch, s, at, text, whole)
	if len(f.batch) >= writeSize {
		f.write()
	}
}

func (f *file) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write()
}

func (f *file) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.batch) == 0 && f.losses.pending == 0 && f.losses.retry == nil && !f.compressor.running
}

func (f *file) dropped() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.losses.total
}

// write writes the batch with one write(2). After losses a line that tells of
// them goes first, and then all or nothing is written.
func (f *file) write() {
	if len(f.batch) == 0 && f.losses.pending == 0 || f.closed {
		return
	}
	if f.losses.pending > 0 {
		f.writeAfterLoss()
	} else if n, err := f.out.Write(f.batch); err != nil {
		whole := bytes.LastIndexByte(f.batch[:max(0, n)], '\n') + 1
		f.cutBack(f.size+int64(whole), n > whole)
		f.size += int64(whole)
		f.lose(f.batch[whole:], err)
	} else {
		f.size += int64(n)
	}
	f.batch = f.batch[:0]
}

func (f *file) writeAfterLoss() {
	told := append(f.notice(), f.batch...)
	n, err := f.out.Write(told)
	if err != nil {
		f.cutBack(f.size, n > 0)
		f.lose(f.batch, err)
		return
	}
	f.size += int64(n)
	f.losses.pending = 0
}

// notice is the line that tells of losses, on stderr as it is not the
// program's result.
func (f *file) notice() []byte {
	cause := f.losses.cause
	if errno := syscall.Errno(0); errors.As(cause, &errno) {
		cause = errno // without the path: this is shown to who reads the log
	}
	text := fmt.Sprintf("bryo: %d log entries lost: write log: %v", f.losses.pending, cause)
	return f.encode.append(nil, stderr, f.now(), []byte(text), true)
}

// cutBack removes what a write that failed half-way left behind the last whole
// line. Truncating needs no space. Readers take whole lines only.
func (f *file) cutBack(size int64, needed bool) {
	if needed {
		_ = f.out.Truncate(size)
	}
}

func (f *file) lose(lines []byte, cause error) {
	n := int64(bytes.Count(lines, []byte{'\n'}))
	f.losses.pending += n
	f.losses.total += n
	f.losses.cause = cause
	f.releaseSpace()
	if f.losses.retry == nil {
		f.losses.retry = time.AfterFunc(retryAfter, f.retry)
	}
}

// retry tells of losses when the container prints nothing more.
func (f *file) retry() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.losses.retry = nil
	f.write()
	if f.losses.pending > 0 && !f.closed {
		f.losses.retry = time.AfterFunc(retryAfter, f.retry)
	}
}

func (f *file) close() error {
	f.compressor.stop(&f.mu)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write()
	f.closed = true
	if f.losses.retry != nil {
		f.losses.retry.Stop()
	}
	f.prune()
	f.lock.Close()
	return f.out.Close()
}
