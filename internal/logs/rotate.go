package logs

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// While someone follows a log, files that its limits would remove are kept for
// them, within these bounds: else a container that fills a small log faster
// than the follower gets the processor would leave gaps. A follower that stands
// still loses what is beyond.
const (
	maxKeptBytes = 64 << 20
	maxKeptFiles = 8192
)

// rotate goes on in a new file. When that cannot be made, the log grows on
// beyond its limit for a while.
func (f *file) rotate() {
	if f.now().Before(f.rotateAfter) {
		return
	}
	f.kept[len(f.kept)-1].size = f.size
	if err := f.create(f.last() + 1); err != nil {
		f.rotateAfter = f.now().Add(retryAfter)
		return
	}
	f.prune()
	if f.config.Compress {
		f.compressor.start(f)
	}
}

// prune removes the oldest files beyond MaxFile.
func (f *file) prune() {
	if f.config.MaxSize == 0 {
		return
	}
	surplus := len(f.kept) - f.config.MaxFile
	if surplus > 0 && f.followed() {
		surplus = f.beyondBounds(surplus)
	}
	f.removeOldest(surplus)
}

// beyondBounds is how many of the surplus files must go although someone reads.
func (f *file) beyondBounds(surplus int) int {
	var size int64
	for i := surplus - 1; i >= 0; i-- {
		size += f.kept[i].size
		if size > maxKeptBytes || surplus-i > maxKeptFiles {
			return i + 1
		}
	}
	return 0
}

func (f *file) removeOldest(n int) {
	for range n {
		os.Remove(f.kept[0].path(f.dir))
		f.kept = f.kept[1:]
	}
}

// releaseSpace gives up what is kept for followers when the disk is full.
func (f *file) releaseSpace() {
	if f.config.MaxSize > 0 {
		f.removeOldest(len(f.kept) - f.config.MaxFile)
	}
}

// followed tells whether a reader holds its shared lock on the directory. It
// never waits: readers cannot hold up the container.
func (f *file) followed() bool {
	fd := int(f.lock.Fd())
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_ = unix.Flock(fd, unix.LOCK_UN)
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// compressor packs rotated files one after the other, beside the writing.
type compressor struct {
	running bool
	done    chan struct{}
	stopped atomic.Bool
}

// start is called with the lock of the file sink held.
func (c *compressor) start(f *file) {
	if c.running || c.stopped.Load() {
		return
	}
	c.running, c.done = true, make(chan struct{})
	go f.pack(c.done)
}

// stop gives up the file in work: it and what waits are left as they are, for
// the next writer. A container's end does not wait for a compression.
func (c *compressor) stop(mu *sync.Mutex) {
	c.stopped.Store(true)
	mu.Lock()
	done := c.done
	mu.Unlock()
	if done != nil {
		<-done
	}
}

func (f *file) pack(done chan struct{}) {
	defer close(done)
	for {
		n, ok := f.nextToPack()
		if !ok {
			return
		}
		size, err := packFile(f.dir, n, &f.compressor.stopped)
		f.packed(n, size, err)
	}
}

// nextToPack is the newest rotated file that is not packed: older ones may be
// removed before their turn.
func (f *file) nextToPack() (numbered, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.kept) - 2; i >= 0 && !f.compressor.stopped.Load(); i-- {
		if !f.kept[i].packed && !f.kept[i].failed {
			return f.kept[i], true
		}
	}
	f.compressor.running = false
	return numbered{}, false
}

// packed puts a compressed file in the place of the plain one, unless that was
// removed meanwhile. The new name is there before the old one goes: a reader
// always finds one of them.
func (f *file) packed(n numbered, size int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	temporary := n.path(f.dir) + temporarySuffix
	for i := range f.kept {
		k := &f.kept[i]
		if k.number != n.number {
			continue
		}
		plain := k.path(f.dir)
		packed := numbered{number: n.number, packed: true, size: size}
		if err == nil {
			err = os.Rename(temporary, packed.path(f.dir))
		}
		if err != nil {
			k.failed = true
			break
		}
		*k = packed
		os.Remove(plain)
		return
	}
	os.Remove(temporary)
}

// packFile compresses a file beside itself. The copy has its time, by which
// readers skip whole files.
func packFile(dir string, n numbered, stop *atomic.Bool) (size int64, err error) {
	from, err := os.Open(n.path(dir))
	if err != nil {
		return 0, err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return 0, err
	}
	to, err := os.OpenFile(n.path(dir)+temporarySuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer to.Close()
	z, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(z, until{from, stop}); err != nil {
		return 0, err
	}
	if err := z.Close(); err != nil {
		return 0, err
	}
	if size, err = to.Seek(0, io.SeekCurrent); err != nil {
		return 0, err
	}
	return size, os.Chtimes(to.Name(), time.Time{}, info.ModTime())
}

// until reads until it is told to stop.
type until struct {
	from io.Reader
	stop *atomic.Bool
}

func (u until) Read(p []byte) (int, error) {
	if u.stop.Load() {
		return 0, errors.New("stopped")
	}
	return u.from.Read(p)
}
