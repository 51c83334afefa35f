package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// Writer is the log of one container, written by its supervisor. Its methods
// may be called at the same time. Nothing that happens to the log is an error
// for the container: what cannot be written is counted and dropped.
type Writer struct {
	mu      sync.Mutex
	sinks   []sink
	now     clock
	queue   *queue // of mode=non-blocking
	streams [2]*Stream
	closed  bool
}

// sink is where entries end: files, the journal. Calls come one at a time.
type sink interface {
	// entry takes one line, or a piece of one when whole is false. text is
	// valid during the call.
	entry(stream stream, at time.Time, text []byte, whole bool)
	// flush ends a batch: what came before must be visible to readers.
	flush()
	dropped() int64
	close() error
}

// stream numbers the two streams of a container.
type stream int

const (
	stdout stream = iota
	stderr
)

func (s stream) String() string { return [...]string{Stdout, Stderr}[s] }

// journalSocket is where systemd-journald takes entries, see
// systemd.io/JOURNAL_NATIVE_PROTOCOL.
const journalSocket = "/run/systemd/journal/socket"

// Open opens the log in dir, which is made when missing, and goes on behind
// what is there. dir belongs to the log alone.
func Open(dir string, c Config) (*Writer, error) {
	return open(dir, c, journalSocket, time.Now)
}

func open(dir string, c Config, socket string, now clock) (*Writer, error) {
	w := &Writer{now: now}
	for _, s := range []stream{stdout, stderr} {
		w.streams[s] = &Stream{w: w, stream: s}
	}
	if c.Driver == Journald {
		j, err := openJournal(socket, c)
		if err != nil {
			return nil, err
		}
		w.sinks = append(w.sinks, j)
	}
	if c.InFiles() {
		f, err := openFile(dir, c, now)
		if err != nil {
			w.Close()
			return nil, err
		}
		w.sinks = append(w.sinks, f)
	}
	if c.NonBlocking && len(w.sinks) > 0 {
		w.queue = newQueue(c.Buffer)
		go w.queue.run(w.write)
	}
	return w, nil
}

// Stream is the way in for "stdout" or "stderr".
func (w *Writer) Stream(name string) *Stream {
	if name == Stderr {
		return w.streams[stderr]
	}
	return w.streams[stdout]
}

// Copy logs what it reads until the end: io.EOF, EIO of a terminal whose last
// holder went, or a descriptor that was closed or ran into its deadline. These
// are no errors. A line that is unfinished then is logged as it is.
func (w *Writer) Copy(name string, from io.Reader) error {
	s := w.Stream(name)
	defer s.Finish()
	// As much as a pipe holds: one read, one batch.
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		_, _ = s.Write(buffer[:n])
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, syscall.EIO),
			errors.Is(err, fs.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
}

// Dropped is the number of entries that were lost since Open.
func (w *Writer) Dropped() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	if w.queue != nil {
		n = w.queue.lost()
	}
	for _, s := range w.sinks {
		n += s.dropped()
	}
	return n
}

// Unfinished is a line without its end, of each stream, that a Writer holds.
type Unfinished [2]struct {
	Rest    []byte    `json:",omitempty"`
	Partial time.Time `json:",omitzero"`
}

// Idle: nothing is under way, so that a Writer which is opened anew and told what is
// unfinished goes on as this one would. Only logs in files are ever idle.
func (w *Writer) Idle() (u Unfinished, idle bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue != nil {
		return u, false
	}
	for _, s := range w.sinks {
		f, inFiles := s.(*file)
		if !inFiles || !f.idle() {
			return u, false
		}
	}
	for i, s := range w.streams {
		u[i].Rest, u[i].Partial = bytes.Clone(s.rest), s.partial
	}
	return u, true
}

// GoOn makes the lines whole that another Writer has begun.
func (w *Writer) GoOn(u Unfinished) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.streams {
		s.rest, s.partial = u[i].Rest, u[i].Partial
	}
}

// Close writes what is left, unfinished lines too, and frees all. What is
// written after it is ignored.
func (w *Writer) Close() error {
	if w.queue != nil {
		w.queue.close()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	for _, s := range w.streams {
		s.finish()
	}
	w.closed = true
	var errs []error
	for _, s := range w.sinks {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// write logs a batch of one stream; nil is the end of the stream.
func (w *Writer) write(s stream, p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.sinks) == 0 {
		return
	}
	if p == nil {
		w.streams[s].finish()
	} else {
		w.streams[s].split(p)
	}
	for _, sink := range w.sinks {
		sink.flush()
	}
}

// Stream is one of the two outputs of a container.
type Stream struct {
	w      *Writer
	stream stream

	rest    []byte    // of a line that has not ended
	partial time.Time // of the first piece of a line in pieces, else zero
}

// Write logs bytes as they come; lines need not be whole. All lines that end in
// p can be read when it returns (not so with mode=non-blocking). It never fails
// and never keeps p.
func (s *Stream) Write(p []byte) (int, error) {
	if len(p) > 0 {
		s.pass(p)
	}
	return len(p), nil
}

// Finish ends the stream: a last line without newline is logged.
func (s *Stream) Finish() { s.pass(nil) }

func (s *Stream) pass(p []byte) {
	if s.w.queue != nil {
		s.w.queue.put(s.stream, p)
		return
	}
	s.w.write(s.stream, p)
}

// split cuts a batch into lines and pieces of at most maxChunk bytes. Lines that
// lie whole in p are not copied.
func (s *Stream) split(p []byte) {
	// One time for the batch: it came with one read(2).
	at := s.w.now()
	for len(p) > 0 {
		if len(s.rest) > 0 {
			p = s.complete(at, p)
			continue
		}
		head := p[:min(len(p), maxChunk)]
		if end := bytes.IndexByte(head, '\n'); end >= 0 {
			s.emit(at, head[:end], true)
			p = p[end+1:]
		} else if len(head) == maxChunk {
			n := runeBoundary(head)
			s.emit(at, head[:n], false)
			p = p[n:]
		} else {
			s.rest = append(s.rest, head...)
			return
		}
	}
}

// complete goes on with an unfinished line and returns what it did not need.
func (s *Stream) complete(at time.Time, p []byte) []byte {
	head := p[:min(len(p), maxChunk-len(s.rest))]
	if end := bytes.IndexByte(head, '\n'); end >= 0 {
		s.rest = append(s.rest, head[:end]...)
		s.emit(at, s.rest, true)
		s.rest = s.rest[:0]
		return p[end+1:]
	}
	s.rest = append(s.rest, head...)
	if len(s.rest) == maxChunk {
		n := runeBoundary(s.rest)
		s.emit(at, s.rest[:n], false)
		s.rest = s.rest[:copy(s.rest, s.rest[n:])]
	}
	return p[len(head):]
}

// emit passes an entry on. All pieces of a line carry the time of the first, as
// with docker.
func (s *Stream) emit(at time.Time, text []byte, whole bool) {
	if !s.partial.IsZero() {
		at = s.partial
	}
	s.partial = time.Time{}
	if !whole {
		s.partial = at
	}
	for _, sink := range s.w.sinks {
		sink.entry(s.stream, at, text, whole)
	}
}

func (s *Stream) finish() {
	if len(s.rest) > 0 {
		s.emit(s.w.now(), s.rest, false)
	}
	s.rest, s.partial = nil, time.Time{}
	for _, sink := range s.w.sinks {
		sink.flush()
	}
}

// runeBoundary is where to cut a piece so that no character is torn: each half
// would be invalid and lost in the escaping.
func runeBoundary(b []byte) int {
	for n := len(b) - 1; n >= 0 && n >= len(b)-utf8.UTFMax; n-- {
		if utf8.RuneStart(b[n]) {
			if !utf8.FullRune(b[n:]) {
				return n
			}
			break
		}
	}
	return len(b)
}
