package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/reference"
)

// isBlob reports that r asks for the content of h.
func isBlob(r *http.Request, h v1.Hash) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+h.String())
}

// hijack sends a raw answer and resets the connection behind it.
func hijack(w http.ResponseWriter, head string, body []byte) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	fmt.Fprintf(buf, "HTTP/1.1 %s\r\n\r\n", head)
	_, _ = buf.Write(body)
	buf.Flush()
	conn.Close()
}

func partialHead(from, size int) string {
	return fmt.Sprintf("206 Partial Content\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d", size-from, from, size-1, size)
}

func rangeStart(r *http.Request) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
	return n
}

// F65: a blob that is cut again and again is put together from the pieces.
func TestResume(t *testing.T) {
	s := newServer(t)
	img, data, h := bigImage(t, 5<<20)
	pushed(t, s, "a", img)
	const piece = 1200 << 10
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r, h) {
			return false
		}
		from := rangeStart(r)
		head := partialHead(from, len(data))
		if r.Header.Get("Range") == "" {
			head = fmt.Sprintf("200 OK\r\nContent-Length: %d", len(data))
		}
		hijack(w, head, data[from:min(from+piece, len(data))])
		return true
	})
	o, rec := options(t)
	_, got := mustPull(t, s.ref(t, "a"), o)
	if !bytes.Equal(got[0], data) {
		t.Error("bytes differ")
	}
	if rec.moved != int64(len(data)) {
		t.Errorf("moved %d bytes, the blob has %d: something was fetched twice", rec.moved, len(data))
	}
	if rec.retries != 4 {
		t.Errorf("%d retries shown, want 4: %q", rec.retries, rec.lines)
	}
}

// A connection that dies without moving much is not tried for ever.
func TestResumeGivesUp(t *testing.T) {
	s := newServer(t)
	img, data, h := bigImage(t, 1<<20)
	pushed(t, s, "a", img)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r, h) {
			return false
		}
		from := rangeStart(r)
		hijack(w, partialHead(from, len(data)), data[from:from+10])
		return true
	})
	o, rec := options(t)
	_, _, err := pullAll(t, s.ref(t, "a"), o)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	if rec.retries != maxTries-1 {
		t.Errorf("%d retries", rec.retries)
	}
}

func TestResumeOddServers(t *testing.T) {
	for _, c := range []struct {
		name   string
		second func(w http.ResponseWriter, data []byte, from int)
	}{
		{"ignores Range", func(w http.ResponseWriter, data []byte, from int) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data)
		}},
		{"Content-Range starts elsewhere", func(w http.ResponseWriter, data []byte, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from+5, len(data)-1, len(data)))
			w.WriteHeader(206)
			_, _ = w.Write(data[from+5:])
		}},
		{"Content-Range missing", func(w http.ResponseWriter, data []byte, from int) {
			w.WriteHeader(206)
			_, _ = w.Write(data[from:])
		}},
		{"Content-Range of another size", func(w http.ResponseWriter, data []byte, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)+1))
			w.WriteHeader(206)
			_, _ = w.Write(data[from:])
		}},
		{"416", func(w http.ResponseWriter, data []byte, from int) { w.WriteHeader(416) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			img, data, h := bigImage(t, 2<<20)
			pushed(t, s, "a", img)
			var n atomic.Int32
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r, h) {
					return false
				}
				switch n.Add(1) {
				case 1:
					hijack(w, fmt.Sprintf("200 OK\r\nContent-Length: %d", len(data)), data[:1500<<10])
				case 2:
					c.second(w, data, rangeStart(r))
				default:
					return false
				}
				return true
			})
			o, _ := options(t)
			_, got := mustPull(t, s.ref(t, "a"), o)
			if !bytes.Equal(got[0], data) {
				t.Error("bytes differ")
			}
			if s.count("GET", h.String(), "bytes=") != 1 || s.count("GET", h.String()) > 3 {
				t.Error("no Range was asked for")
			}
		})
	}
}

// A body that stalls, or drips, is cut and resumed.
func TestStall(t *testing.T) {
	for _, c := range []struct {
		name string
		drip bool
	}{{"stalls", false}, {"drips", true}} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			img, data, h := bigImage(t, 2<<20)
			pushed(t, s, "a", img)
			var n atomic.Int32
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r, h) {
					return false
				}
				if from := rangeStart(r); n.Add(1) > 1 {
					hijack(w, partialHead(from, len(data)), data[from:])
					return true
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(data)))
				_, _ = w.Write(data[:1<<20])
				w.(http.Flusher).Flush()
				for i := 0; r.Context().Err() == nil; i++ {
					if c.drip {
						_, _ = w.Write(data[1<<20+i : 1<<20+i+1])
						w.(http.Flusher).Flush()
					}
					time.Sleep(20 * time.Millisecond)
				}
				return true
			})
			o, rec := options(t)
			o.StallTimeout = 300 * time.Millisecond
			_, got := mustPull(t, s.ref(t, "a"), o)
			if !bytes.Equal(got[0], data) {
				t.Error("bytes differ")
			}
			if rec.retries != 1 || !strings.Contains(strings.Join(rec.lines, ""), "no data from the registry") {
				t.Errorf("retries %d: %q", rec.retries, rec.lines)
			}
		})
	}
}

// F68: a killed pull is continued; at most one chunk is fetched twice.
func TestKilledPullContinues(t *testing.T) {
	if name := os.Getenv("BRYO_TEST_PULL"); name != "" {
		childPull(t, name)
		return
	}
	s := newServer(t)
	img, data, h := bigImage(t, 40<<20)
	pushed(t, s, "a", img)
	var served atomic.Int64
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r, h) {
			return false
		}
		from := rangeStart(r)
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
			w.WriteHeader(206)
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		}
		for off := from; off < len(data); off += 64 << 10 {
			n, err := w.Write(data[off:min(off+64<<10, len(data))])
			served.Add(int64(n))
			if err != nil {
				break
			}
			if from == 0 && off > 20<<20 {
				w.(http.Flusher).Flush()
				<-r.Context().Done() // hold the first connection here
				break
			}
		}
		return true
	})
	o, _ := options(t)
	child := exec.Command(os.Args[0], "-test.run=^TestKilledPullContinues$", "-test.v")
	child.Env = append(os.Environ(), "BRYO_TEST_PULL="+s.ref(t, "a").String(), "BRYO_TEST_PARTIAL="+o.PartialDir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.PartialDir, "sha256-"+h.Hex)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(file); err == nil && info.Size() > 20<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the child fetches nothing")
		}
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	_, got := mustPull(t, s.ref(t, "a"), o)
	if !bytes.Equal(got[0], data) {
		t.Error("bytes differ")
	}
	// What was on the way to the killed process (socket buffers) counts as served.
	if twice := served.Load() - int64(len(data)); twice > checkEvery+4<<20 {
		t.Errorf("%d bytes were served twice", twice)
	}
	if s.count("GET", h.String(), "bytes=") != 1 {
		t.Error("not resumed")
	}
}

// childPull is the process that is killed.
func childPull(t *testing.T, name string) {
	o, _ := options(t)
	o.PartialDir = os.Getenv("BRYO_TEST_PARTIAL")
	ref, err := reference.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	mustPull(t, ref, o)
}

// A cancelled pull keeps what it has, to the byte.
func TestCancelledPullContinues(t *testing.T) {
	s := newServer(t)
	img, data, h := bigImage(t, 3<<20)
	pushed(t, s, "a", img)
	var n atomic.Int32
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r, h) || n.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:2<<20])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	o, _ := options(t)
	ctx, cancel := context.WithCancel(context.Background())
	first, err := Pull(ctx, s.ref(t, "a"), o)
	if err != nil {
		t.Fatal(err)
	}
	layers, _ := first.Layers()
	rc, _ := layers[0].Compressed()
	if _, err := io.ReadFull(rc, make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, rc); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled read: %v", err)
	}
	rc.Close()
	first.Close()
	o2, rec := options(t)
	o2.PartialDir = o.PartialDir
	_, got := mustPull(t, s.ref(t, "a"), o2)
	if !bytes.Equal(got[0], data) || rec.have != 2<<20 || rec.moved != 1<<20 {
		t.Errorf("continued at %d, moved %d", rec.have, rec.moved)
	}
}

// What a power cut, or anybody, does to a partial file heals by itself.
func TestDamagedPartial(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"zeros in the data", func(t *testing.T, path string) { patch(t, path, partialHeader+100, make([]byte, 5000)) }},
		{"zeros in the header", func(t *testing.T, path string) { patch(t, path, 0, make([]byte, 48)) }},
		{"wrong sum", func(t *testing.T, path string) { patch(t, path, 20, []byte("xxxx")) }},
		{"count too large", func(t *testing.T, path string) { patch(t, path, 8, []byte{0x7f, 0xff}) }},
		{"cut short", func(t *testing.T, path string) { _ = os.Truncate(path, partialHeader+1000) }},
		{"empty", func(t *testing.T, path string) { _ = os.Truncate(path, 0) }},
		{"header only", func(t *testing.T, path string) { _ = os.Truncate(path, 48) }},
		{"garbage behind", func(t *testing.T, path string) {
			f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			_, _ = f.Write(bytes.Repeat([]byte("g"), 9<<20))
			f.Close()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			img, data, h := bigImage(t, 2<<20)
			pushed(t, s, "a", img)
			o, _ := options(t)
			p, err := openPartial(context.Background(), o.PartialDir, v1.Descriptor{Digest: h, Size: int64(len(data))}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(p.write(data[:1<<20]), p.mark(), p.f.Close()); err != nil {
				t.Fatal(err)
			}
			c.damage(t, p.path)
			_, got := mustPull(t, s.ref(t, "a"), o)
			if !bytes.Equal(got[0], data) {
				t.Error("bytes differ")
			}
		})
	}
}

func patch(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A link planted in the partial folder is not followed.
func TestPartialLink(t *testing.T) {
	s := newServer(t)
	img, _, h := bigImage(t, 1<<10)
	pushed(t, s, "a", img)
	o, _ := options(t)
	canary := filepath.Join(t.TempDir(), "canary")
	_ = os.WriteFile(canary, []byte("precious"), 0o600)
	_ = os.MkdirAll(o.PartialDir, 0o700)
	_ = os.Symlink(canary, filepath.Join(o.PartialDir, "sha256-"+h.Hex))
	if _, _, err := pullAll(t, s.ref(t, "a"), o); err == nil {
		t.Error("no error")
	}
	if b, _ := os.ReadFile(canary); string(b) != "precious" {
		t.Errorf("canary: %q", b)
	}
}

// Two images share a blob: one download, however they are pulled.
func TestSharedBlob(t *testing.T) {
	s := newServer(t)
	_, data, h := bigImage(t, 3<<20)
	shared := static.NewLayer(data, types.OCIUncompressedLayer)
	for _, name := range []string{"a", "b"} {
		img, err := mutate.AppendLayers(empty.Image, shared, static.NewLayer([]byte(name), types.OCIUncompressedLayer))
		if err != nil {
			t.Fatal(err)
		}
		pushed(t, s, name, img)
	}
	gate := make(chan struct{})
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r, h) {
			<-gate
		}
		return false
	})
	o, rec := options(t)
	results := make(chan []byte, 4)
	for _, name := range []string{"a", "b"} {
		img, err := Pull(testContext(t), s.ref(t, name), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		for range 2 { // and twice within one image
			l, _ := img.LayerByDigest(h)
			rc, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				b, _ := io.ReadAll(rc)
				rc.Close()
				results <- b
			}()
		}
	}
	time.Sleep(300 * time.Millisecond)
	close(gate)
	for range 4 {
		if !bytes.Equal(<-results, data) {
			t.Error("bytes differ")
		}
	}
	if n := s.count("GET", h.String()); n != 1 {
		t.Errorf("%d downloads", n)
	}
	if !strings.Contains(strings.Join(rec.lines, ""), "waiting for another bryo") {
		t.Errorf("waiting was not said: %q", rec.lines)
	}
}

// A registry that serves a byte now and then, or a pull that was stopped, holds no
// other pull of the same blob or the same image.
func TestStuckHolder(t *testing.T) {
	blob, img := blobPatience, imagePatience
	t.Cleanup(func() { blobPatience, imagePatience = blob, img })
	blobPatience, imagePatience = 200*time.Millisecond, 300*time.Millisecond
	s := newServer(t)
	image, data, h := bigImage(t, 3<<20)
	pushed(t, s, "a", image)
	o, rec := options(t)
	if err := os.MkdirAll(o.PartialDir, 0o700); err != nil {
		t.Fatal(err)
	}
	blobLock, err := openLocked(t.Context(), filepath.Join(o.PartialDir, "sha256-"+h.Hex), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer blobLock.Close()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	imageLock, err := openLocked(t.Context(), filepath.Join(o.PartialDir, "image-"+digest.Hex), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer imageLock.Close()
	// It gets on, slowly.
	go func() {
		for range 100 {
			_, _ = blobLock.Write([]byte("x"))
			time.Sleep(20 * time.Millisecond)
		}
	}()
	pulledImage, err := Pull(testContext(t), s.ref(t, "a"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer pulledImage.Close()
	l, _ := pulledImage.LayerByDigest(h)
	rc, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if b, err := io.ReadAll(rc); err != nil || !bytes.Equal(b, data) {
		t.Errorf("%d bytes of %d, %v", len(b), len(data), err)
	}
	if !strings.Contains(strings.Join(rec.lines, ""), "does not get on") {
		t.Errorf("nothing was said: %q", rec.lines)
	}
}

// F19: a second pull of the same image waits until the first is closed.
func TestImageLock(t *testing.T) {
	s := newServer(t)
	pushed(t, s, "a", randomImage(t, 1000, 1))
	o, _ := options(t)
	first, err := Pull(testContext(t), s.ref(t, "a"), o)
	if err != nil {
		t.Fatal(err)
	}
	var closed atomic.Bool
	done := make(chan error)
	go func() {
		second, err := Pull(testContext(t), s.ref(t, "a"), o)
		if err == nil {
			if !closed.Load() {
				err = errors.New("did not wait")
			}
			second.Close()
		}
		done <- err
	}()
	time.Sleep(200 * time.Millisecond)
	closed.Store(true)
	first.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	// A waiting pull can be interrupted.
	third, err := Pull(testContext(t), s.ref(t, "a"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := Pull(ctx, s.ref(t, "a"), o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("interrupted wait: %v", err)
	}
}

func TestCleanPartial(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "sha256-"+strings.Repeat("a", 64))
	_ = os.WriteFile(old, make([]byte, 100), 0o600)
	_ = os.WriteFile(filepath.Join(dir, "other"), nil, 0o600)
	busy, err := openLocked(context.Background(), filepath.Join(dir, "sha256-"+strings.Repeat("b", 64)), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if freed, err := CleanPartial(dir, time.Hour); freed != 0 || err != nil {
		t.Errorf("young files: %d %v", freed, err)
	}
	if freed, err := CleanPartial(dir, 0); freed != 100 || err != nil {
		t.Errorf("%d %v", freed, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("left %v", left)
	}
}

// A reader whose file is cut under it gets what is left, then the cause; never
// an end.
func TestReaderOfCutFile(t *testing.T) {
	_, data, h := bigImage(t, 1<<20)
	file, err := openPartial(context.Background(), t.TempDir(), v1.Descriptor{Digest: h, Size: int64(len(data))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.write(data); err != nil {
		t.Fatal(err)
	}
	p := &spool{file: file, have: int64(len(data)), ended: make(chan struct{}), err: ErrVerify}
	p.moved = sync.NewCond(&p.mu)
	close(p.ended)
	_ = file.f.Truncate(partialHeader + 100)
	r := p.open()
	buf := make([]byte, 4096)
	if n, err := r.Read(buf); n != 100 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if n, err := r.Read(buf); n != 0 || !errors.Is(err, ErrVerify) {
		t.Errorf("%d %v", n, err)
	}
}
