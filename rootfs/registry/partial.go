package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"bryo/rootfs/patience"
)

// A partial file holds the first bytes of a blob:
//
//	0     magic, 8 bytes
//	8     checked: how many bytes the sum covers, 8 bytes big-endian
//	16    sum: SHA-256 of those bytes
//	48    consumed: how many bytes were read for unpacking, 8 bytes, a hint
//	4096  the blob's bytes
//
// It is written without fsync. The sum is what makes that safe: after a power
// cut the kernel may have kept the file's length and lost its content, so a
// later pull believes exactly the bytes that the sum confirms.
//
// The file is locked (flock) by the process that downloads into it. Another
// process that wants the same blob opens the same file and waits; then it has
// all bytes, even when the first has unlinked the file meanwhile. It does not wait
// for one that does not get on (its registry is slow, or somebody stopped it).
const (
	partialMagic  = "bryoblob"
	partialHeader = 4096
	consumedAt    = 48
	// checkEvery bounds what a killed pull fetches twice. Each check costs one
	// write of 48 bytes.
	checkEvery = 4 << 20
	// partialLife: nobody continues a pull of last month.
	partialLife = 30 * 24 * time.Hour
)

// partial is one blob's file. Only the holder of the lock writes.
type partial struct {
	f    *os.File
	path string // empty: an unnamed file, nothing is kept
	want v1.Hash
	sum  hash.Hash // of the bytes [0,have)
	have int64
}

// openPartial opens and locks the file for a blob, waiting for another
// process that downloads it. The digest was checked: it is safe in a path.
func openPartial(ctx context.Context, dir string, d v1.Descriptor, waiting func()) (*partial, error) {
	hasher, err := v1.Hasher(d.Digest.Algorithm)
	if err != nil {
		return nil, err
	}
	p := &partial{want: d.Digest, sum: hasher}
	if dir == "" {
		p.f, err = unnamedFile()
		return p, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p.path = partialPath(dir, d.Digest)
	for {
		p.f, err = openLocked(ctx, p.path, waiting, patience.New(func() int64 { return Fetched(dir, d.Digest.String()) }, blobPatience))
		if errors.Is(err, patience.ErrStuck) {
			p.path = ""
			p.f, err = unnamedFile()
			return p, err
		}
		if err != nil {
			return nil, err
		}
		good, err := p.load(d.Size)
		// A file that its owner unlinked is good when it is complete, as it
		// will not be written again.
		if err == nil && good && (p.have == d.Size || isAt(p.f, p.path)) {
			return p, nil
		}
		if err == nil && !good && isAt(p.f, p.path) {
			err = os.Remove(p.path) // others may be reading the old one: never cut it
		}
		p.f.Close()
		if err != nil {
			return nil, err
		}
	}
}

func partialPath(dir string, h v1.Hash) string { return filepath.Join(dir, h.Algorithm+"-"+h.Hex) }

// unnamedFile vanishes with its last descriptor.
func unnamedFile() (*os.File, error) {
	f, err := os.CreateTemp("", "bryo-blob-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}

// openLocked opens path (a regular file of ours, never through a link) and
// takes its lock.
func openLocked(ctx context.Context, path string, waiting func(), p *patience.Patience) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file", path)
	}
	if err == nil {
		err = lock(ctx, f, waiting, p)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock polls, as flock(2) itself cannot be cancelled: 5 ms at first, at most
// 100 ms.
func lock(ctx context.Context, f *os.File, waiting func(), p *patience.Patience) error {
	for pause := 5 * time.Millisecond; ; pause = min(pause*3/2, 100*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if waiting != nil && pause > 50*time.Millisecond {
			waiting()
			waiting = nil
		}
		if p.IsOver() {
			return patience.ErrStuck
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// How long a lock's holder may do nothing. That of an image may be waiting for the disk.
var (
	blobPatience  = 10 * time.Second
	imagePatience = time.Minute
)

// Fetched says how far any process is with a blob ("sha256:…"), for who waits for
// it: bytes that came, and bytes that were read for unpacking.
func Fetched(dir, blob string) int64 {
	h, err := v1.NewHash(blob)
	if dir == "" || err != nil {
		return 0
	}
	f, err := os.OpenFile(partialPath(dir, h), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	var consumed [8]byte
	_, _ = f.ReadAt(consumed[:], consumedAt) // an empty file has none
	return info.Size() + int64(binary.BigEndian.Uint64(consumed[:]))
}

// consumed notes how far a reader is.
func (p *partial) consumed(n int64) {
	if p.path == "" {
		return
	}
	_, _ = p.f.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(n)), consumedAt)
}

// isAt reports that path still names f.
func isAt(f *os.File, path string) bool {
	at, err := os.Lstat(path)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(at, info)
}

// load finds out how many bytes can be believed and drops the rest. false: the
// file is no use, take a new one.
func (p *partial) load(size int64) (bool, error) {
	p.sum.Reset()
	p.have = 0
	head := make([]byte, 48)
	n, err := p.f.ReadAt(head, 0)
	if n == 0 && errors.Is(err, io.EOF) {
		return true, nil // new
	}
	if err != nil || string(head[:8]) != partialMagic {
		return false, nil
	}
	checked := int64(binary.BigEndian.Uint64(head[8:]))
	if checked < 0 || checked > size {
		return false, nil
	}
	copied, err := io.Copy(p.sum, io.NewSectionReader(p.f, partialHeader, checked))
	if err != nil || copied != checked || !bytes.Equal(checkpoint(p.sum), head[16:48]) {
		return false, nil
	}
	p.have = checked
	return true, p.cut()
}

// checkpoint is the running sum in 32 bytes, whatever the algorithm.
func checkpoint(h hash.Hash) []byte {
	sum := sha256.Sum256(h.Sum(nil))
	return sum[:]
}

// cut drops what stands behind the believed bytes. Nobody reads there: only
// complete files have readers besides their writer.
func (p *partial) cut() error {
	info, err := p.f.Stat()
	if err == nil && info.Size() > partialHeader+p.have {
		err = p.f.Truncate(partialHeader + p.have)
	}
	return err
}

// write appends bytes; every checkEvery bytes the header follows.
func (p *partial) write(b []byte) error {
	if _, err := p.f.WriteAt(b, partialHeader+p.have); err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			_ = p.discard() // give the space back: rm and prune need it
		}
		return err
	}
	p.sum.Write(b)
	before := p.have / checkEvery
	p.have += int64(len(b))
	if p.path != "" && p.have/checkEvery != before {
		return p.mark()
	}
	return nil
}

// mark writes the header for the bytes so far.
func (p *partial) mark() error {
	head := binary.BigEndian.AppendUint64([]byte(partialMagic), uint64(p.have))
	_, err := p.f.WriteAt(append(head, checkpoint(p.sum)...), 0)
	return err
}

// finish checks the digest of the complete blob. Bytes with a wrong digest are
// dropped at once.
func (p *partial) finish() error {
	if got := fmt.Sprintf("%x", p.sum.Sum(nil)); got != p.want.Hex {
		return errors.Join(fmt.Errorf("content has digest %s:%s: %w", p.want.Algorithm, got, ErrVerify), p.discard())
	}
	if p.path == "" {
		return nil
	}
	return p.mark()
}

func (p *partial) discard() error {
	p.sum.Reset()
	p.have = 0
	return p.f.Truncate(0)
}

// unlock lets other processes at the file; this one may go on reading.
func (p *partial) unlock() { _ = unix.Flock(int(p.f.Fd()), unix.LOCK_UN) }

// remove unlinks the file unless it is a later one, or in somebody's work.
func (p *partial) remove() {
	if p.path == "" || unix.Flock(int(p.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	if isAt(p.f, p.path) {
		os.Remove(p.path)
	}
	p.unlock()
}

// CleanPartial removes what interrupted pulls left in dir, is older than age and
// not in use. It returns the bytes freed.
func CleanPartial(dir string, age time.Duration) (freed int64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !isPartialName(e.Name()) || time.Since(info.ModTime()) < age {
			continue
		}
		if removeUnused(filepath.Join(dir, e.Name())) {
			freed += info.Size()
		}
	}
	return freed, err
}

func isPartialName(name string) bool {
	return strings.HasPrefix(name, "sha256-") || strings.HasPrefix(name, "sha512-") || strings.HasPrefix(name, "image-")
}

func removeUnused(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !isAt(f, path) {
		return false
	}
	return os.Remove(path) == nil
}
