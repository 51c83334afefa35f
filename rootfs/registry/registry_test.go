package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/reference"
	"bryo/rootfs/registry/conf"
	"bryo/rootfs/registry/credential"
)

// server is an in-process registry; hook sees each request first and returns
// true when it has answered.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	hook     func(w http.ResponseWriter, r *http.Request) bool
	requests []string // "METHOD path [Range]"
	auths    []string // Authorization headers seen
}

func newServer(t *testing.T) *server {
	s := newUnstarted(t)
	s.Start()
	return s
}

func newUnstarted(t *testing.T) *server {
	t.Helper()
	s := &server{}
	inner := memory.New(memory.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Range")))
		s.auths = append(s.auths, r.Header.Get("Authorization"))
		hook := s.hook
		s.mu.Unlock()
		if hook != nil && hook(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *server) host() string {
	u, _ := url.Parse(s.URL)
	return u.Host
}

func (s *server) ref(t *testing.T, name string) reference.Reference {
	t.Helper()
	r, err := reference.Parse(s.host() + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *server) on(hook func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// count counts requests that contain all parts.
func (s *server) count(parts ...string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
next:
	for _, r := range s.requests {
		for _, p := range parts {
			if !strings.Contains(r, p) {
				continue next
			}
		}
		n++
	}
	return n
}

// record is a Progress that keeps what it hears.
type record struct {
	mu      sync.Mutex
	lines   []string
	retries int
	have    int64
	moved   int64
}

func (r *record) Start(b string, size, have int64) { r.mu.Lock(); r.have += have; r.mu.Unlock() }
func (r *record) Advance(b string, n int64)        { r.mu.Lock(); r.moved += n; r.mu.Unlock() }
func (r *record) Done(b string, err error)         {}
func (r *record) Note(line string)                 { r.mu.Lock(); r.lines = append(r.lines, line); r.mu.Unlock() }
func (r *record) Retry(what string, cause error, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retries++
	r.lines = append(r.lines, fmt.Sprintf("%s: %v: again in %v", what, cause, wait))
}

// options are isolated from this machine's configuration.
func options(t *testing.T) (Options, *record) {
	t.Helper()
	dir := t.TempDir()
	rec := new(record)
	return Options{
		PartialDir:   filepath.Join(dir, "partial"),
		Progress:     rec,
		Dirs:         &conf.Dirs{System: filepath.Join(dir, "etc"), User: filepath.Join(dir, "user"), Certs: []string{filepath.Join(dir, "certs.d")}},
		Files:        &credential.Files{Search: []string{filepath.Join(dir, "auth.json")}, Write: filepath.Join(dir, "auth.json")},
		RetryDelay:   time.Millisecond,
		StallTimeout: 2 * time.Second,
		Proxy:        func(*http.Request) (*url.URL, error) { return nil, nil },
	}, rec
}

// testContext ends a hanging test.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pushed pushes img through Push itself.
func pushed(t *testing.T, s *server, name string, img v1.Image) v1.Hash {
	t.Helper()
	o, _ := options(t)
	h, err := Push(testContext(t), s.ref(t, name), img, o)
	if err != nil {
		t.Fatalf("push: %v", err)
	}
	return h
}

func randomImage(t *testing.T, size int64, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// bigImage has one layer of incompressible bytes, not even a tar: nothing here
// unpacks.
func bigImage(t *testing.T, size int) (v1.Image, []byte, v1.Hash) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data)
	l := static.NewLayer(data, types.OCIUncompressedLayer)
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	h, _ := l.Digest()
	return img, data, h
}

// pullAll pulls and reads every layer to its end.
func pullAll(t *testing.T, ref reference.Reference, o Options) (*Image, [][]byte, error) {
	t.Helper()
	img, err := Pull(testContext(t), ref, o)
	if err != nil {
		return nil, nil, err
	}
	defer img.Close()
	layers, err := img.Layers()
	if err != nil {
		return img, nil, err
	}
	var out [][]byte
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return img, out, err
		}
		data, err := io.ReadAll(rc)
		rc.Close()
		if err != nil {
			return img, out, err
		}
		out = append(out, data)
	}
	return img, out, nil
}

func mustPull(t *testing.T, ref reference.Reference, o Options) (*Image, [][]byte) {
	t.Helper()
	img, data, err := pullAll(t, ref, o)
	if err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	return img, data
}

func TestPushPull(t *testing.T) {
	s := newServer(t)
	want := randomImage(t, 1<<20, 4)
	digest := pushed(t, s, "a:1", want) // one letter: docker allows it
	o, _ := options(t)
	img, data := mustPull(t, s.ref(t, "a:1"), o)
	if got, _ := img.Digest(); got != digest {
		t.Errorf("digest %s, want %s", got, digest)
	}
	layers, _ := want.Layers()
	for i, l := range layers {
		rc, _ := l.Compressed()
		b, _ := io.ReadAll(rc)
		if !bytes.Equal(b, data[i]) {
			t.Errorf("layer %d differs", i)
		}
	}
	if got, _ := filepath.Glob(o.PartialDir + "/sha256-*"); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	img.Close()
	if got, _ := filepath.Glob(o.PartialDir + "/*"); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	byDigest := s.ref(t, "a@"+digest.String())
	mustPull(t, byDigest, o)
	if _, err := Push(testContext(t), s.ref(t, "a:2"), want, o); err != nil {
		t.Fatal(err)
	}
	tags, err := ListTags(testContext(t), s.ref(t, "a"), o)
	if err != nil || fmt.Sprint(tags) != "[1 2]" {
		t.Errorf("tags %v, %v", tags, err)
	}
	d, err := Head(testContext(t), s.ref(t, "a:1"), o)
	if err != nil || d.Digest != digest {
		t.Errorf("head %v, %v", d, err)
	}
}

func mustRef(t *testing.T, name string) reference.Reference {
	t.Helper()
	r, err := reference.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
