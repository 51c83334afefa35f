package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/logs/watch"
)

// All is the Tail that leaves nothing out.
const All = -1

// ReadOptions say what to read. The zero Tail shows nothing of the past.
type ReadOptions struct {
	Follow bool
	// Alive tells whether the container may still print; following ends when
	// it may not and all is read. Without it following ends with the context.
	Alive func() bool
	Since time.Time // zero: from the begin
	Until time.Time // zero: to the end
	Tail  int       // the last lines of the log, counted before Since; All
	// Keep is how many files the log may have (Config.Kept); 0: any number.
	// The last reader of an ended container removes what was kept for readers.
	Keep int
}

// Handler takes entries. An error of it ends Read, which returns it.
type Handler interface {
	Entry(*Entry) error
	// Flush comes when there is nothing more to read for now.
	Flush() error
}

// Summary tells what Read could not show.
type Summary struct {
	Corrupt int // lines that were no entries
	Lost    int // files that were removed before they were read
}

// ParseTail reads the value of --tail.
func ParseTail(value string) (int, error) {
	if value == "" || value == "all" {
		return All, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("invalid value %q for --tail: give a number of lines or \"all\"", value)
	}
	return max(n, All), nil
}

const (
	// maxWait bounds a wait for news, for file systems whose changes
	// inotify does not tell.
	maxWait = 200 * time.Millisecond
	// askAfter is how often Alive is asked at most.
	askAfter = 100 * time.Millisecond
	// clockStep is how far the time of a file may be before that of its last
	// entry: the kernel stamps files with a coarse clock.
	clockStep = time.Second
)

// Read passes the entries of the log in dir to h, in the order of the files. A
// log that is not there is empty. Without Follow it ends where the log ended
// when it was called. A line without its end, as kill -9 leaves it, is no error.
func Read(ctx context.Context, dir string, o ReadOptions, h Handler) (Summary, error) {
	r := &reader{dir: dir, o: o, h: h}
	held := hold(dir)
	defer func() { held.release(o) }()
	if o.Follow {
		r.watch = watch.Start(dir)
		defer r.watch.Close()
	}
	err := r.run(ctx)
	if flushed := h.Flush(); err == nil || errors.Is(err, errPastUntil) {
		err = flushed
	}
	return r.sum, err
}

// held is a reader's lock on the directory of a log.
type held struct{ dir *os.File }

// hold tells the writer that someone reads, which then keeps for a while what
// it would remove. A reader that cannot get the lock reads without.
func hold(dir string) held {
	d, err := os.Open(dir)
	if err != nil {
		return held{}
	}
	for range 50 {
		// The writer has its own lock for a moment only. One that was
		// stopped in that moment must not stop us.
		if unix.Flock(int(d.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return held{d}
}

func (h held) release(o ReadOptions) {
	if h.dir == nil {
		return
	}
	defer h.dir.Close()
	if o.Keep == 0 || o.Alive == nil || o.Alive() {
		return
	}
	// The writer is gone, which would have done it: the last reader does.
	if unix.Flock(int(h.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	files, err := list(h.dir.Name())
	if err != nil {
		return
	}
	for ; len(files) > o.Keep; files = files[1:] {
		os.Remove(files[0].path(h.dir.Name()))
	}
}

var errPastUntil = errors.New("past until")

type reader struct {
	dir   string
	o     ReadOptions
	h     Handler
	sum   Summary
	watch *watch.Dir

	entry Entry
	last  numbered // without Follow: the last file, and how much of it
	asked time.Time
	alive bool
}

func (r *reader) run(ctx context.Context) error {
	files, err := list(r.dir)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if len(files) == 0 {
		if files, err = r.first(ctx); err != nil || len(files) == 0 {
			return err
		}
	}
	r.last = files[len(files)-1]
	at, err := r.begin(files)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	for at.number != 0 {
		next, err := r.file(ctx, at)
		if err != nil {
			return err
		}
		at = place{number: next}
	}
	return nil
}

// first waits for a log that has no file yet.
func (r *reader) first(ctx context.Context) ([]numbered, error) {
	for r.o.Follow {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		alive := r.isAlive() && !r.pastUntil()
		files, err := list(r.dir)
		if err != nil || len(files) > 0 || !alive {
			return files, err
		}
		r.watch.Wait(ctx, maxWait)
	}
	return nil, nil
}

// begin finds the first entry that may be wanted.
func (r *reader) begin(files []numbered) (place, error) {
	for len(files) > 1 && files[0].changed.Before(r.o.Since.Add(-clockStep)) {
		files = files[1:]
	}
	if r.o.Tail >= 0 {
		return findTail(r.dir, files, r.o.Tail)
	}
	return place{number: files[0].number}, nil
}

// file reads one file to its end and returns the number of the next; 0: there
// is none to be read.
func (r *reader) file(ctx context.Context, at place) (next int, err error) {
	limit := int64(-1)
	if !r.o.Follow && at.number == r.last.number {
		limit = r.last.size
	}
	l, err := openLines(r.dir, at.number, at.offset, limit)
	if errors.Is(err, fs.ErrNotExist) {
		r.sum.Lost++
		return r.after(at.number)
	}
	if err != nil {
		return 0, fmt.Errorf("read log: %w", err)
	}
	defer l.close()
	if at.offset > 0 && l.packed {
		// Packed since the place was found: count the bytes again.
		if err := l.discard(at.offset); err != nil {
			return 0, fmt.Errorf("read log: %w", err)
		}
	}
	for {
		// Asked before reading: nothing is written to a file any more when
		// it has a successor, or when the container has ended.
		next, err := r.successor(l)
		if err != nil {
			return 0, err
		}
		alive := r.o.Follow && r.isAlive()
		if err := r.drain(ctx, l, &at.skip); err != nil {
			return 0, err
		}
		if next != 0 || !alive || r.pastUntil() {
			return next, r.finish(l)
		}
		l.forgetTorn()
		if err := r.h.Flush(); err != nil {
			return 0, err
		}
		r.watch.Wait(ctx, r.wait())
	}
}

// drain passes on the entries that are there.
func (r *reader) drain(ctx context.Context, l *lines, skip *int) error {
	for n := 0; ; n++ {
		if n&0x3ff == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		line, ok, err := l.next()
		if err != nil {
			if l.packed { // cut off or damaged: what was unpacked is shown
				r.sum.Corrupt++
				return nil
			}
			return fmt.Errorf("read log: %w", err)
		}
		if !ok {
			return nil
		}
		if !r.entry.parse(line) {
			r.sum.Corrupt++
			continue
		}
		if *skip > 0 {
			if r.entry.Whole() {
				*skip--
			}
			continue
		}
		if err := r.pass(); err != nil {
			return err
		}
	}
}

// pass hands an entry on if its time is wanted. Times need not ascend: clocks
// are set back. So only a follower ends with the first entry past Until.
func (r *reader) pass() error {
	e := &r.entry
	switch {
	case e.Time.Before(r.o.Since):
		return nil
	case !r.o.Until.IsZero() && e.Time.After(r.o.Until):
		if r.o.Follow {
			return errPastUntil
		}
		return nil
	}
	return r.h.Entry(e)
}

// finish looks at what is left behind the last newline: an entry of which only
// the newline is missing, or nothing to be shown.
func (r *reader) finish(l *lines) error {
	if len(l.torn()) == 0 || !r.entry.parse(l.torn()) {
		return nil
	}
	return r.pass()
}

// successor is the number of the file that follows, 0 if there is none yet or
// none to be read.
func (r *reader) successor(l *lines) (int, error) {
	if !r.o.Follow && l.number >= r.last.number {
		return 0, nil
	}
	next := numbered{number: l.number + 1}
	for _, next.packed = range []bool{false, true} {
		if _, err := os.Lstat(next.path(r.dir)); err == nil {
			return next.number, nil
		}
	}
	if !r.o.Follow || l.gone() {
		return r.after(l.number)
	}
	return 0, nil
}

// after is the number of the oldest file that is newer. What is missing between
// was removed before it was read.
func (r *reader) after(number int) (int, error) {
	files, err := list(r.dir)
	if err != nil {
		return 0, fmt.Errorf("read log: %w", err)
	}
	for _, f := range files {
		if f.number > number && (r.o.Follow || f.number <= r.last.number) {
			r.sum.Lost += f.number - number - 1
			return f.number, nil
		}
	}
	return 0, nil
}

func (r *reader) isAlive() bool {
	if r.o.Alive == nil {
		return true
	}
	if now := time.Now(); !r.alive || now.Sub(r.asked) >= askAfter {
		r.alive, r.asked = r.o.Alive(), now
	}
	return r.alive
}

func (r *reader) pastUntil() bool {
	return !r.o.Until.IsZero() && time.Now().After(r.o.Until)
}

func (r *reader) wait() time.Duration {
	wait := maxWait
	if r.o.Alive != nil {
		wait = askAfter
	}
	if !r.o.Until.IsZero() {
		wait = min(wait, max(time.Until(r.o.Until), time.Millisecond))
	}
	return wait
}
