package events

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/format"
	"bryo/internal/logs/watch"
)

// Options say which events to read.
type Options struct {
	Since time.Time // zero: only what happens from now on
	// Until ends reading: what is in the past is shown and that is all, a
	// time to come is waited for. Zero: reading ends with the context.
	Until   time.Time
	Filters format.Filters // see ParseFilters
	// Mentions, if set, is a text that the lines to read have in them: an ID, say,
	// which JSON writes as it is. The others cost almost nothing.
	Mentions string
}

// maxWait bounds a wait for news, for file systems whose changes inotify does
// not tell.
const maxWait = 500 * time.Millisecond

// Read calls f for each event, as docker events shows them: those of the past
// in the order of their time, then the others as they happen. It returns at
// Until, or with the error of the context or of f.
func Read(ctx context.Context, root string, o Options, f func(*Event) error) error {
	r := &reader{dir: folder(root), o: o, f: f, now: time.Now()}
	defer r.close()
	var w *watch.Dir
	if !r.ended() { // there will be a wait
		w = watch.Start(r.dir)
		defer w.Close()
	}
	for {
		// Looked at before reading: what happened until then is written.
		ended := r.ended()
		batch, err := r.collect()
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for i := range batch {
			if err := r.pass(&batch[i]); err != nil {
				return err
			}
		}
		switch {
		case ended:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case len(batch) == 0:
			w.Wait(ctx, r.wait())
		}
	}
}

type reader struct {
	dir string
	o   Options
	f   func(*Event) error
	now time.Time // when reading began

	// The files in the order of their making, and how much of each was read.
	// The one before the last stays open: a writer that opened it before it
	// was put aside may still write to it.
	files []*source
}

type source struct {
	file   *os.File
	inode  uint64
	offset int64
}

// collect returns the events that were not read yet, in the order of their
// time, which for those of different processes may not be that of the lines.
func (r *reader) collect() ([]Event, error) {
	var all []Event
	if err := r.find(); err != nil {
		return nil, err
	}
	for _, s := range r.files {
		lines, err := s.read()
		if err != nil {
			return nil, err
		}
		for line := range linesWith(lines, r.o.Mentions) {
			var e Event
			// What is no event was torn by a full disk or a power loss.
			if len(line) > 0 && json.Unmarshal(line, &e) == nil && e.TimeNano != 0 {
				all = append(all, e)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.TimeNano, b.TimeNano) })
	return all, nil
}

// linesWith are the lines that have a text in them, which is no line itself.
func linesWith(lines []byte, text string) iter.Seq[[]byte] {
	if text == "" {
		return bytes.SplitSeq(lines, []byte{'\n'})
	}
	return func(yield func([]byte) bool) {
		for rest := lines; ; {
			at := bytes.Index(rest, []byte(text))
			if at < 0 {
				return
			}
			start := bytes.LastIndexByte(rest[:at], '\n') + 1
			line, after, _ := bytes.Cut(rest[start:], []byte{'\n'})
			if !yield(line) {
				return
			}
			rest = after
		}
	}
}

// find opens the files that are new. The current one first: if it is put aside
// between the two looks, it is found twice, but nothing is missed.
func (r *reader) find() error {
	var found []*source
	for _, name := range []string{fileName, oldName} {
		s, err := openSource(filepath.Join(r.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if known(r.files, s) || known(found, s) {
			s.file.Close()
			continue
		}
		found = append([]*source{s}, found...)
	}
	r.files = append(r.files, found...)
	for len(r.files) > 3 {
		r.files[0].file.Close()
		r.files = r.files[1:]
	}
	return nil
}

// known compares inodes: a file that is held open keeps its number.
func known(files []*source, s *source) bool {
	return slices.ContainsFunc(files, func(f *source) bool { return f.inode == s.inode })
}

func openSource(path string) (*source, error) {
	f, err := openRegular(path, unix.O_RDONLY)
	if errors.Is(err, errDamaged) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EACCES) {
		return nil, fs.ErrNotExist // the next event puts it aside
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	s := &source{file: f}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = stat.Ino
	}
	return s, nil
}

// read returns the whole lines that were not read yet.
func (s *source) read() ([]byte, error) {
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, max(0, min(info.Size()-s.offset, hugeSize)))
	n, err := s.file.ReadAt(b, s.offset)
	if err != nil && err != io.EOF {
		return nil, err
	}
	b = b[:n]
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	s.offset += int64(len(b))
	return b, nil
}

func (r *reader) pass(e *Event) error {
	at := e.At()
	if since := r.o.Since; since.IsZero() && at.Before(r.now) || at.Before(since) {
		return nil
	}
	if !r.o.Until.IsZero() && at.After(r.o.Until) || !Match(r.o.Filters, e) {
		return nil
	}
	return r.f(e)
}

func (r *reader) ended() bool {
	return !r.o.Until.IsZero() && !time.Now().Before(r.o.Until)
}

func (r *reader) wait() time.Duration {
	if r.o.Until.IsZero() {
		return maxWait
	}
	return min(maxWait, max(time.Until(r.o.Until), time.Millisecond))
}

func (r *reader) close() {
	for _, s := range r.files {
		s.file.Close()
	}
}
