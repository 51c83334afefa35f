package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	digest "github.com/opencontainers/go-digest"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"

	"bryo/rootfs/store/decompress"
	"bryo/rootfs/store/unpack"
)

// stage fetches one layer, checks it and unpacks it into a directory of the
// storage library that no layer refers to yet.
func (s *Store) stage(ctx context.Context, layer *planLayer, report *meterLayer) (*drivers.DriverWithDifferOutput, error) {
	unlock, err := s.locks.take(ctx, lockStaging, false)
	if err != nil {
		return nil, err
	}
	d := &differ{ctx: ctx, store: s, layer: layer, report: report, staged: sync.OnceFunc(unlock)}
	output, err := s.storage.PrepareStagedLayer(nil, d)
	d.staged() // not called back if it could not make the directory
	if err == nil {
		return output, nil
	}
	// Without a target the library has made nothing, and would clean up ".".
	if output != nil && output.Target != "" {
		err = errors.Join(err, s.storage.CleanupStagedLayer(output))
	}
	return nil, fmt.Errorf("layer %.19s: %w", layer.digest, err)
}

// differ is how the storage library calls back with the directory to fill.
type differ struct {
	ctx    context.Context
	store  *Store
	layer  *planLayer
	report *meterLayer
	staged func() // called once the directory is there and locked
}

// Close has nothing to release: ApplyDiff does so itself.
func (d *differ) Close() error { return nil }

// ApplyDiff fills dest. Called by the storage library, without its locks.
func (d *differ) ApplyDiff(dest string, _ *archive.TarOptions, _ *drivers.DifferOptions) (drivers.DriverWithDifferOutput, error) {
	d.staged()
	if d.layer.foreign != nil && d.layer.foreign.linkable {
		return d.link(dest)
	}
	var output drivers.DriverWithDifferOutput
	source, err := d.open()
	if err != nil {
		return output, err
	}
	notes, err := nameless(filepath.Dir(dest))
	if err != nil {
		source.close()
		return output, err
	}
	result, err := d.fill(source, dest, notes)
	if err != nil {
		notes.Close()
		return output, err
	}
	return unpacked(d, result, notes, source.plain, d.layer.diffID, d.layer.digest), nil
}

// unpacked is what the library gets to know of a directory that was filled. Notes
// that would not give the archive again are dropped.
func unpacked(d drivers.Differ, result *unpack.Result, notes *os.File, size int64, diffID, compressed string) drivers.DriverWithDifferOutput {
	output := drivers.DriverWithDifferOutput{
		Differ: d, Size: size, UIDs: result.UIDs, GIDs: result.GIDs, RootDirMode: result.RootMode,
		UncompressedDigest: digest.Digest(diffID), CompressedDigest: digest.Digest(compressed), TarSplit: notes,
	}
	if !result.Replayable {
		notes.Close()
		output.TarSplit = nil
	}
	return output
}

// nameless makes a temporary file that nothing can leave behind.
func nameless(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "notes-")
	if err != nil {
		return nil, err
	}
	return file, os.Remove(file.Name())
}

// fill unpacks and then, with everything read, compares the digests.
func (d *differ) fill(source *layerStream, dest string, notes *os.File) (*unpack.Result, error) {
	options := d.store.unpack
	options.TarSplit = notes
	options.Compressed = source.compressedBytes
	result, err := unpack.Unpack(d.ctx, source, dest, options)
	if err == nil {
		err = source.finish()
	}
	source.close()
	if err != nil {
		return nil, d.blame(source, err)
	}
	return result, d.verify(source)
}

// blame finds the cause behind an error of unpacking: a body that ended early
// breaks whatever reads it, wherever it happens to be.
func (d *differ) blame(source *layerStream, err error) error {
	if ctxErr := d.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	if source.failure != nil {
		return source.failure
	}
	if source.ended && source.fetched < d.layer.size {
		return cutOff(source.fetched, d.layer.size)
	}
	if source.ended && !source.local && source.compressedDigest() != d.layer.digest {
		return fmt.Errorf("%w: digest is %s, the manifest says %s", ErrInvalid, source.compressedDigest(), d.layer.digest)
	}
	var path *os.PathError
	if errors.As(err, &path) || isHost(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}

// isHost tells errors of this machine from those of the layer.
func isHost(err error) bool {
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

func cutOff(fetched, size int64) error {
	return fmt.Errorf("%w: cut off after %d of %d bytes", ErrInvalid, fetched, size)
}

func (d *differ) verify(source *layerStream) error {
	if !source.local {
		if source.fetched < d.layer.size { // more of them were refused on the way
			return cutOff(source.fetched, d.layer.size)
		}
		if got := source.compressedDigest(); got != d.layer.digest {
			return fmt.Errorf("%w: digest is %s, the manifest says %s", ErrInvalid, got, d.layer.digest)
		}
	}
	if got := source.plainDigest(); got != d.layer.diffID {
		return fmt.Errorf("%w: unpacked digest is %s, the configuration says %s", ErrInvalid, got, d.layer.diffID)
	}
	return nil
}

// layerStream is a layer on its way in: source, belt, decompressor, belt.
//
//	source ──belt (SHA-256, count)──► inflate ──belt (SHA-256, count)──► unpack
//
// The belts' goroutines write the sums; they are read after finish or close. A
// source that is a verifier has summed up its bytes itself.
type layerStream struct {
	source   io.ReadCloser
	local    bool // from this very store: only the plain digest counts
	report   *meterLayer
	in, out  *belt
	inflate  io.ReadCloser
	inSum    hash.Hash // nil: the source compares with the digest itself
	outSum   hash.Hash
	fetched  int64
	plain    int64
	ended    bool         // the source gave all it has
	failure  error        // of the source
	passed   atomic.Int64 // like fetched, for readers on the way
	closed   atomic.Bool
	uncancel func() bool
	verified string // the digest of a source that has ended, when inSum is nil
}

// verifier is a source that compares its bytes with their digest itself: it ends
// with io.EOF only if they have it. Package registry has to, for blobs whose
// beginning came with an earlier pull; twice would be once too often.
type verifier interface{ Verified() string }

// closeSource ends a read that waits. That it fails then is nobody's cause.
func (l *layerStream) closeSource() {
	if l.closed.CompareAndSwap(false, true) {
		l.source.Close()
	}
}

// open starts the stream: from a layer of the store with the same contents if
// there is one, else from where the image comes from.
func (d *differ) open() (*layerStream, error) {
	stream := &layerStream{report: d.report, outSum: sha256.New()}
	var err error
	if stream.source, stream.local, err = d.source(); err != nil {
		return nil, err
	}
	if v, ok := stream.source.(verifier); ok && v.Verified() == d.layer.digest {
		stream.verified = d.layer.digest
	} else {
		stream.inSum = sha256.New()
	}
	// A read that waits for the network ends when its body is closed.
	stream.uncancel = context.AfterFunc(d.ctx, stream.closeSource)
	return stream, stream.start(d.layer.size)
}

// source opens the layer; plain: it is local, so only the plain digest counts.
func (d *differ) source() (source io.ReadCloser, plain bool, err error) {
	if source = d.store.sameContents(d.layer.diffID); source != nil {
		return source, true, nil
	}
	d.report.state(Fetching)
	if d.layer.foreign != nil {
		source, err = d.layer.foreign.stream()
		return source, true, err
	}
	source, err = d.layer.source.Compressed()
	return source, false, err
}

func (l *layerStream) start(size int64) error {
	l.in = newBelt(&limited{l, size}, l.sawSource)
	var err error
	if l.inflate, _, err = decompress.Reader(l.in); err != nil {
		l.uncancel()
		l.closeSource()
		l.in.close()
		<-l.in.done
		if l.failure != nil {
			return l.failure
		}
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	l.out = newBelt(l.inflate, l.sawPlain)
	return nil
}

// limited stops a body that goes on after its size: it may never end.
type limited struct {
	stream *layerStream
	size   int64
}

func (r *limited) Read(p []byte) (int, error) {
	l := r.stream
	n, err := l.source.Read(p)
	if r.size >= 0 && !l.local && l.passed.Load()+int64(n) > r.size {
		l.failure = fmt.Errorf("%w: more than the %d bytes that the manifest says", ErrInvalid, r.size)
		return 0, l.failure
	}
	l.passed.Add(int64(n))
	if err == io.EOF {
		l.ended = true
	} else if err != nil && !l.closed.Load() {
		l.failure = err
	}
	return n, err
}

func (l *layerStream) sawSource(p []byte) {
	if l.inSum != nil {
		l.inSum.Write(p)
	}
	l.fetched += int64(len(p))
	l.report.add(len(p))
}

func (l *layerStream) sawPlain(p []byte) {
	l.outSum.Write(p)
	l.plain += int64(len(p))
}

func (l *layerStream) Read(p []byte) (int, error) { return l.out.Read(p) }

// compressedBytes may be called at any time: for the ratio limit.
func (l *layerStream) compressedBytes() int64 {
	if l.local {
		return 1 << 62 // these bytes were within the limits when they came in
	}
	return l.passed.Load()
}

// finish reads what the decompressor left of the source, so that the digest is
// of all of it.
func (l *layerStream) finish() error {
	<-l.out.done
	if _, err := io.Copy(io.Discard, l.in); err != nil {
		return err
	}
	<-l.in.done
	return nil
}

// close ends both goroutines, in whatever state they are.
func (l *layerStream) close() {
	l.uncancel()
	l.closeSource()
	l.in.close() // the decompressor's next read fails
	l.out.close()
	<-l.out.done // it is not to be closed while it is read
	l.inflate.Close()
	<-l.in.done
}

func (l *layerStream) compressedDigest() string {
	if l.inSum == nil {
		if l.ended {
			return l.verified
		}
		return "of a stream that has not ended"
	}
	return "sha256:" + hex.EncodeToString(l.inSum.Sum(nil))
}
func (l *layerStream) plainDigest() string { return "sha256:" + hex.EncodeToString(l.outSum.Sum(nil)) }
