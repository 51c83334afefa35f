package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bryo/rootfs/patience"
)

const (
	copyBuffer = 256 << 10
	// minProgress is what a connection must move to count as progress: a
	// registry that hands out a byte per connection runs out of tries.
	minProgress = 1 << 20
	// minRate: fewer bytes than this in one StallTimeout is a stall.
	minRate = 1 << 10
	// tailTimeout is how long the end of a complete body is waited for.
	tailTimeout = 2 * time.Second
)

// errNoRange: the registry answers a Range with something else. The whole blob
// is asked for once more, and what we have of it skipped.
var errNoRange = errors.New("the registry cannot resume, starting over")

// spool is the download of one blob. A goroutine writes the partial file as
// fast as the registry sends; readers follow it in the same file. So the
// network never waits for the unpacking, memory stays at one buffer, and two
// layers of one image with the same blob share one download.
//
// Lock order: image.mu, then spool.mu. Nothing is called under spool.mu.
type spool struct {
	s    *session
	desc v1.Descriptor

	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{} // one per blob moved at once

	mu      sync.Mutex
	moved   *sync.Cond
	file    *partial
	have    int64 // readable bytes
	done    bool
	err     error
	readers int
	closed  bool // the last reader has gone: start a new spool
	used    bool // a reader came to the end
	ended   chan struct{}
}

func newSpool(ctx context.Context, s *session, d v1.Descriptor, slots chan struct{}) *spool {
	p := &spool{s: s, desc: d, slots: slots, ended: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.moved = sync.NewCond(&p.mu)
	go p.run()
	return p
}

func (p *spool) run() {
	defer close(p.ended)
	err := p.download()
	p.mu.Lock()
	p.done, p.err = true, err
	p.mu.Unlock()
	p.moved.Broadcast()
}

// download gets a slot, then the file, then the missing bytes.
func (p *spool) download() (err error) {
	blob := p.desc.Digest.String()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	progress := p.s.opts.Progress
	file, err := openPartial(p.ctx, p.s.opts.PartialDir, p.desc, func() {
		progress.Note(blob + ": waiting for another bryo that downloads it")
	})
	if err != nil {
		return fmt.Errorf("open partial blob: %w", err)
	}
	progress.Start(blob, p.desc.Size, file.have)
	defer func() { progress.Done(blob, err) }()
	defer file.unlock()
	p.mu.Lock()
	p.file, p.have = file, file.have
	p.mu.Unlock()
	p.moved.Broadcast()
	if err := p.fill(file); err != nil {
		if errors.Is(err, ErrVerify) {
			_ = file.discard()
		} else if p.s.opts.PartialDir != "" && file.have > 0 {
			_ = file.mark() // all that came counts for the next pull
		}
		return p.foreign(p.s.fail("get blob", blob, err))
	}
	return p.s.fail("get blob", blob, file.finish())
}

// foreign explains why a layer is missing that its manifest places at URLs
// elsewhere: those are never followed.
func (p *spool) foreign(err error) error {
	if e := (*Error)(nil); errors.As(err, &e) && e.Kind == ErrNotFound && !p.desc.MediaType.IsDistributable() {
		e.Cause = fmt.Errorf("a foreign layer that the registry does not keep: %w", ErrUnsupported)
		e.Kind = ErrUnsupported
	}
	return err
}

// fill fetches until the file has all bytes. Tries are counted anew after
// each connection that moved enough.
func (p *spool) fill(file *partial) error {
	ranges := true
	for n := 1; file.have < p.desc.Size; n++ {
		before := file.have
		err := p.fetch(file, ranges)
		if err == nil {
			continue // fetch only returns nil with all bytes
		}
		if ranges && errors.Is(err, errNoRange) {
			ranges = false
			p.s.opts.Progress.Note(p.desc.Digest.String() + ": " + err.Error())
			continue
		}
		if file.have-before >= minProgress {
			n = 1
		}
		if n >= maxTries || n >= maxTimeouts && isTimeout(err) || p.ctx.Err() != nil || !p.s.transient(err, true) {
			return err
		}
		if err := p.s.wait(p.ctx, "get blob "+p.desc.Digest.String(), n, err); err != nil {
			return err
		}
	}
	return nil
}

// fetch makes one request, from where the file ends, and copies its body.
func (p *spool) fetch(file *partial, ranges bool) error {
	ctx, alive, stop := withTimeout(p.ctx, p.s.opts.StallTimeout+headerTimeout)
	defer stop()
	q := request{method: http.MethodGet, url: p.s.url("blobs/" + p.desc.Digest.String()), header: http.Header{},
		ok: []int{http.StatusOK, http.StatusPartialContent}}
	if ranges && file.have > 0 {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", file.have))
	}
	resp, err := p.s.try(ctx, q)
	if err != nil {
		if st := (*status)(nil); errors.As(err, &st) && st.code == http.StatusRequestedRangeNotSatisfiable {
			return fmt.Errorf("%w: %w", errNoRange, err)
		}
		return stalled(ctx, err)
	}
	defer resp.Body.Close()
	skip, err := p.checkAnswer(resp, file.have)
	if err != nil {
		if resp.StatusCode == http.StatusPartialContent {
			err = fmt.Errorf("%w: %w", errNoRange, err)
		}
		return err
	}
	alive(p.s.opts.StallTimeout)
	body := &livelyReader{r: resp.Body, alive: func() { alive(p.s.opts.StallTimeout) }}
	if _, err := io.CopyN(io.Discard, body, skip); err != nil {
		return stalled(ctx, short(err))
	}
	if err := p.copy(file, body); err != nil {
		return stalled(ctx, short(err))
	}
	return p.checkTail(resp)
}

// checkAnswer compares the announced bytes with those we need. skip is how
// many to drop because the registry ignored the Range.
func (p *spool) checkAnswer(resp *http.Response, have int64) (skip int64, err error) {
	size := p.desc.Size
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return 0, fmt.Errorf("content encoding %q: %w", clean(e, 40), ErrUnsupported)
	}
	if resp.StatusCode == http.StatusOK {
		if resp.ContentLength >= 0 && resp.ContentLength != size {
			return 0, sizeError(resp.ContentLength, size)
		}
		return have, nil
	}
	from, to, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	if !ok || from != have || to != size-1 || total >= 0 && total != size {
		return 0, fmt.Errorf("asked for bytes %d-%d of %d, got Content-Range %q: %w",
			have, size-1, size, clean(resp.Header.Get("Content-Range"), 80), ErrVerify)
	}
	if resp.ContentLength >= 0 && resp.ContentLength != size-have {
		return 0, sizeError(have+resp.ContentLength, size)
	}
	return 0, nil
}

// parseContentRange reads "bytes 10-99/100"; the total may be "*" (-1).
func parseContentRange(s string) (from, to, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, size, found := strings.Cut(s, "/")
	first, last, dash := strings.Cut(span, "-")
	if !ok || !found || !dash {
		return 0, 0, 0, false
	}
	var errs [3]error
	from, errs[0] = strconv.ParseInt(first, 10, 64)
	to, errs[1] = strconv.ParseInt(last, 10, 64)
	if total = -1; size != "*" {
		total, errs[2] = strconv.ParseInt(size, 10, 64)
	}
	return from, to, total, errors.Join(errs[:]...) == nil && from >= 0 && to >= from
}

// copy moves the missing bytes into the file and tells the readers.
func (p *spool) copy(file *partial, body io.Reader) error {
	blob, buf := p.desc.Digest.String(), make([]byte, copyBuffer)
	for file.have < p.desc.Size {
		n, err := body.Read(buf[:min(int64(len(buf)), p.desc.Size-file.have)])
		if n > 0 {
			if err := file.write(buf[:n]); err != nil {
				return fmt.Errorf("write partial blob: %w", err)
			}
			p.mu.Lock()
			p.have = file.have
			p.mu.Unlock()
			p.moved.Broadcast()
			p.s.opts.Progress.Advance(blob, int64(n))
		}
		if err != nil && file.have < p.desc.Size {
			return err
		}
	}
	return nil
}

// checkTail refuses a body that goes on behind its end. A registry that only
// keeps the connection open is let go: the digest decides.
func (p *spool) checkTail(resp *http.Response) error {
	cut := time.AfterFunc(tailTimeout, func() { resp.Body.Close() })
	defer cut.Stop()
	if n, _ := resp.Body.Read(make([]byte, 1)); n > 0 {
		return fmt.Errorf("more than the %d bytes that the manifest says: %w", p.desc.Size, ErrVerify)
	}
	return nil
}

// short turns the end of a body that is too short into a cut connection.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// livelyReader resets the stall timer for every minRate bytes, not for every
// read: a registry that drips is stalled too.
type livelyReader struct {
	r     io.Reader
	n     int
	alive func()
}

func (l *livelyReader) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.n += n; l.n >= minRate {
		l.n = 0
		l.alive()
	}
	return n, err
}

// reader follows the spool. io.EOF comes only after the digest was checked:
// bytes handed out before are unverified until then.
type reader struct {
	p      *spool
	off    int64
	closed bool
}

// open gives a reader from the blob's start, or nil when the spool has ended.
func (p *spool) open() *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.readers++
	return &reader{p: p}
}

// Verified is the digest that the bytes have when Read has come to io.EOF.
func (r *reader) Verified() string { return r.p.desc.Digest.String() }

// Read blocks until bytes are there, the blob is complete, or it failed.
func (r *reader) Read(b []byte) (int, error) {
	p := r.p
	p.mu.Lock()
	for r.off >= p.have && !p.done {
		p.moved.Wait()
	}
	have, done, err, file := p.have, p.done, p.err, p.file
	if done && err == nil && r.off >= have {
		p.used = true
	}
	p.mu.Unlock()
	switch {
	case r.closed:
		return 0, fs.ErrClosed
	case done && err != nil:
		return 0, err
	case r.off >= have:
		return 0, io.EOF
	}
	if int64(len(b)) > have-r.off {
		b = b[:have-r.off]
	}
	n, err := file.f.ReadAt(b, partialHeader+r.off)
	before := r.off / patience.Step
	if r.off += int64(n); r.off/patience.Step != before {
		file.consumed(r.off)
	}
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if n > 0 {
		return n, nil
	}
	return 0, p.whyCut()
}

// whyCut is asked when the file has lost bytes that were there: the download
// has dropped them, and is about to say why. Never an io.EOF.
func (p *spool) whyCut() error {
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	return io.ErrUnexpectedEOF
}

// Close lets go. The last reader of a blob that was read to its end removes
// the partial file at once, so that the kernel need not write it to the disk
// when the unpacked layer is synced. The last reader of an unfinished one ends
// the download; the file stays for the next pull.
func (r *reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	p := r.p
	p.mu.Lock()
	p.readers--
	last := p.readers == 0
	p.closed = p.closed || last
	p.mu.Unlock()
	if last {
		p.end()
	}
	return nil
}

// end stops the download and frees the file.
func (p *spool) end() {
	p.cancel()
	<-p.ended
	if p.file == nil {
		return
	}
	if p.used && p.err == nil {
		p.file.remove()
	}
	p.file.f.Close()
}
