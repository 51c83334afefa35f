package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/reference"
)

func isManifest(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/")
}

// reply answers with a manifest.
func reply(w http.ResponseWriter, kind types.MediaType, body string) {
	w.Header().Set("Content-Type", string(kind))
	_, _ = w.Write([]byte(body))
}

// nothingKept: no partial file with content that a later pull would believe.
func nothingKept(t *testing.T, o Options) {
	t.Helper()
	entries, _ := os.ReadDir(o.PartialDir)
	for _, e := range entries {
		if info, _ := e.Info(); strings.HasPrefix(e.Name(), "sha") && info.Size() > partialHeader {
			t.Errorf("kept %s with %d bytes", e.Name(), info.Size())
		}
	}
}

// A41, A42: bytes that are not what the manifest says.
func TestWrongBlob(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(w http.ResponseWriter, data []byte)
		want  error
		text  string
	}{
		{"wrong digest", func(w http.ResponseWriter, data []byte) {
			bad := bytes.Clone(data)
			bad[len(bad)/2] ^= 1
			_, _ = w.Write(bad)
		}, ErrVerify, "content has digest sha256:"},
		{"longer, announced", func(w http.ResponseWriter, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
			_, _ = w.Write(append(bytes.Clone(data), 'x'))
		}, ErrVerify, "the manifest says"},
		{"longer, chunked", func(w http.ResponseWriter, data []byte) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(data)
			for range 100 {
				_, _ = w.Write(make([]byte, 1<<16))
			}
		}, ErrVerify, "more than the"},
		{"shorter, announced", func(w http.ResponseWriter, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)-1))
			_, _ = w.Write(data[:len(data)-1])
		}, ErrVerify, "the manifest says"},
		{"shorter, chunked", func(w http.ResponseWriter, data []byte) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(data[:len(data)-1])
		}, ErrUnreachable, "EOF"},
		{"gzip encoding", func(w http.ResponseWriter, data []byte) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(data)
		}, ErrUnsupported, "content encoding"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			img, data, h := bigImage(t, 300<<10)
			pushed(t, s, "a", img)
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r, h) {
					return false
				}
				c.serve(w, data)
				return true
			})
			o, _ := options(t)
			_, _, err := pullAll(t, s.ref(t, "a"), o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v, want %v with %q", err, c.want, c.text)
			}
			if c.want == ErrVerify && !strings.Contains(c.name, "shorter") {
				nothingKept(t, o)
			}
		})
	}
}

// A41: the config is checked too.
func TestWrongConfig(t *testing.T) {
	s := newServer(t)
	img := randomImage(t, 100, 1)
	pushed(t, s, "a", img)
	name, _ := img.ConfigName()
	raw, _ := img.RawConfigFile()
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r, name) {
			_, _ = w.Write(bytes.Replace(raw, []byte(`"os":"`), []byte(`"OS":"`), 1))
			return true
		}
		return false
	})
	o, _ := options(t)
	if _, _, err := pullAll(t, s.ref(t, "a"), o); !errors.Is(err, ErrVerify) {
		t.Errorf("error %v", err)
	}
}

// A43: a tag that moves while it is pulled. What was seen first is pulled, by
// digest, or nothing.
func TestTagFlips(t *testing.T) {
	s := newServer(t)
	first := pushed(t, s, "a:x", randomImage(t, 100, 1))
	pushed(t, s, "a:y", randomImage(t, 100, 1))
	var n atomic.Int32
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/x") && n.Add(1) > 1 {
			r.URL.Path = strings.TrimSuffix(r.URL.Path, "x") + "y"
		}
		return false
	})
	o, _ := options(t)
	d, err := Head(testContext(t), s.ref(t, "a:x"), o)
	if err != nil || d.Digest != first {
		t.Fatalf("%v %v", d, err)
	}
	pinned, _ := s.ref(t, "a").WithDigest(d.Digest.String())
	img, _ := mustPull(t, pinned, o)
	if got, _ := img.Digest(); got != first {
		t.Errorf("pulled %s", got)
	}
	// And a registry that gives another manifest for a digest:
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/"+first.String()) {
			r.URL.Path = strings.TrimSuffix(r.URL.Path, first.String()) + "y"
		}
		return false
	})
	if _, _, err := pullAll(t, pinned, o); !errors.Is(err, ErrVerify) {
		t.Errorf("error %v", err)
	}
}

// A30-A33: manifests that mean two things, or too much.
func TestBadManifest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	desc := func(kind types.MediaType, d string) string {
		return fmt.Sprintf(`{"mediaType":%q,"size":10,"digest":%q}`, kind, d)
	}
	config, layer := desc(types.OCIConfigJSON, digest), desc(types.OCILayer, digest)
	image := func(config, layers string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, types.OCIManifestSchema1, config, layers)
	}
	good := image(config, layer)
	var entries []string
	for i := range 10000 {
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"size":10,"digest":"sha256:%064x","platform":{"os":"linux","architecture":"amd64"}}`, types.OCIManifestSchema1, i))
	}
	for _, c := range []struct {
		name string
		kind types.MediaType
		body string
		want error
		text string
	}{
		{"manifest and index", types.OCIManifestSchema1, strings.TrimSuffix(good, "}") + `,"manifests":[` + layer + `]}`, ErrVerify, "both a manifest and an index"},
		{"index and manifest", types.OCIImageIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s],"layers":[]}`, layer), ErrVerify, "both a manifest and an index"},
		{"image served as index", types.OCIImageIndex, good, ErrVerify, "media type"},
		{"image without type served as index", types.OCIImageIndex, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`, config, layer), ErrVerify, "does not fit"},
		{"docker type over OCI content", types.DockerManifestSchema2, good, ErrVerify, "in the header and"},
		{"text/html", "text/html", good, ErrUnsupported, "text/html"},
		{"schema 1", types.DockerManifestSchema1Signed, `{"schemaVersion":1,"fsLayers":[]}`, ErrUnsupported, "schema 1"},
		{"schema 1 as schema 2", types.DockerManifestSchema2, `{"schemaVersion":1,"fsLayers":[]}`, ErrUnsupported, "schema 1"},
		{"schema 3", types.OCIManifestSchema1, strings.Replace(good, `"schemaVersion":2`, `"schemaVersion":3`, 1), ErrUnsupported, "schemaVersion 3"},
		{"key twice", types.OCIManifestSchema1, strings.TrimSuffix(good, "}") + `,"layers":[]}`, ErrVerify, `"layers" occurs twice`},
		{"key in other case", types.OCIManifestSchema1, strings.TrimSuffix(good, "}") + `,"Layers":[]}`, ErrVerify, `"Layers" instead of`},
		{"inner key in other case", types.OCIManifestSchema1, image(config, strings.TrimSuffix(layer, "}")+`,"Digest":"sha256:`+strings.Repeat("b", 64)+`"}`), ErrVerify, `"Digest" instead of`},
		{"two documents", types.OCIManifestSchema1, good + good, ErrVerify, "behind the end"},
		{"deep", types.OCIManifestSchema1, strings.Repeat(`{"a":`, 100000) + "1" + strings.Repeat("}", 100000), ErrVerify, "deeper"},
		{"not JSON", types.OCIManifestSchema1, "<html>", ErrVerify, "invalid JSON"},
		{"no config", types.OCIManifestSchema1, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"layers":[]}`, types.OCIManifestSchema1), ErrVerify, "does not fit"},
		{"digest climbs", types.OCIManifestSchema1, image(config, desc(types.OCILayer, "sha256:../../../../etc/passwd")), ErrVerify, "hash"},
		{"digest short", types.OCIManifestSchema1, image(config, desc(types.OCILayer, "sha256:abc")), ErrVerify, "hex digits"},
		{"digest empty", types.OCIManifestSchema1, image(config, strings.Replace(layer, digest, "", 1)), ErrVerify, ""},
		{"digest missing", types.OCIManifestSchema1, image(config, `{"mediaType":"`+string(types.OCILayer)+`","size":1}`), ErrVerify, "digest"},
		{"negative size", types.OCIManifestSchema1, image(config, strings.Replace(layer, "10", "-1", 1)), ErrVerify, "size -1"},
		{"huge config", types.OCIManifestSchema1, image(strings.Replace(config, "10", "99999999999", 1), layer), ErrVerify, "config of"},
		{"helm chart", types.OCIManifestSchema1, image(desc("application/vnd.cncf.helm.config.v1+json", digest), layer), ErrUnsupported, "not a container image"},
		{"layer type", types.OCIManifestSchema1, image(config, desc("application/x-sh", digest)), ErrUnsupported, "application/x-sh"},
		{"terminal escapes", "evil/\u009b31m", good, ErrUnsupported, "media type"},
		{"10^4 entries", types.OCIImageIndex, `{"schemaVersion":2,"mediaType":"` + string(types.OCIImageIndex) + `","manifests":[` + strings.Join(entries, ",") + `]}`, ErrVerify, "10000 entries"},
		{"4 MiB", types.OCIManifestSchema1, strings.TrimSuffix(good, "}") + `,"annotations":{"a":"` + strings.Repeat("x", maxManifest) + `"}}`, ErrVerify, "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				if isManifest(r) {
					reply(w, c.kind, c.body)
					return true
				}
				return false
			})
			o, _ := options(t)
			_, _, err := pullAll(t, s.ref(t, "a"), o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v, want %v with %q", err, c.want, c.text)
			}
			if strings.ContainsAny(err.Error(), "\x1b\x7f\u009b\n") {
				t.Errorf("control characters in %q", err.Error())
			}
		})
	}
}

// A33: an index that refers to itself cannot be built by digest; one that claims
// to, and a long chain, end.
func TestNestedIndex(t *testing.T) {
	s := newServer(t)
	chain := map[string]string{}
	last := "sha256:" + strings.Repeat("a", 64)
	size := 10
	for range 10 {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"size":%d,"digest":%q}]}`, types.OCIImageIndex, types.OCIImageIndex, size, last)
		h, _, _ := v1.SHA256(strings.NewReader(body))
		last, size = h.String(), len(body)
		chain[last] = body
	}
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r) {
			return false
		}
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if body, ok := chain[id]; ok {
			reply(w, types.OCIImageIndex, body)
		} else { // "self": always the same index, whatever digest is asked for
			reply(w, types.OCIImageIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"size":10,"digest":"sha256:%064d"}]}`, types.OCIImageIndex, types.OCIImageIndex, 1))
		}
		return true
	})
	o, _ := options(t)
	ref, _ := s.ref(t, "a").WithDigest(last)
	if _, err := Pull(testContext(t), ref, o); !errors.Is(err, ErrVerify) || !strings.Contains(err.Error(), "indexes inside each other") {
		t.Errorf("chain: %v", err)
	}
	if _, err := Pull(testContext(t), s.ref(t, "a:self"), o); !errors.Is(err, ErrVerify) || !strings.Contains(err.Error(), "digest") {
		t.Errorf("self: %v", err)
	}
	if n := s.count("manifests"); n > 8 {
		t.Errorf("%d requests", n)
	}
}

// A44: a redirect to another host goes without credentials; the bytes from
// there are taken, as they have a digest.
func TestRedirect(t *testing.T) {
	img, data, h := bigImage(t, 100<<10)
	var seen atomic.Value
	seen.Store("none")
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization") + r.Header.Get("Cookie") + r.Header.Get("Referer"))
		_, _ = w.Write(data)
	}))
	defer cdn.Close()
	s := newServer(t)
	pushed(t, s, "a", img)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user+password != "usersecret!" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		if isBlob(r, h) {
			http.Redirect(w, r, cdn.URL+"/signed?token=abc", http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	o, _ := options(t)
	login(t, o, s.host(), "user", "secret!")
	_, got := mustPull(t, s.ref(t, "a"), o)
	if !bytes.Equal(got[0], data) {
		t.Error("bytes differ")
	}
	if seen.Load() != "" {
		t.Errorf("the other host saw %q", seen.Load())
	}
}

func TestRedirectRefused(t *testing.T) {
	for _, c := range []struct{ name, to, text string }{
		{"file", "file:///etc/passwd", "scheme"},
		{"metadata", "http://169.254.169.254/latest", "169.254.169.254"},
		{"metadata v6", "http://[fd00:ec2::254]/", "fd00:ec2::254"},
		{"unspecified", "http://0.0.0.0/", "0.0.0.0"},
		{"mapped", "http://[::ffff:169.254.169.254]/", "169.254.169.254"},
		{"itself", "", "redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				if isManifest(r) {
					to := c.to
					if to == "" {
						to = r.URL.Path
					}
					w.Header().Set("Location", to)
					w.WriteHeader(302)
					return true
				}
				return false
			})
			o, rec := options(t)
			_, err := Pull(testContext(t), s.ref(t, "a"), o)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v", err)
			}
			if rec.retries > 0 {
				t.Error("retried")
			}
		})
	}
}

// A registry elsewhere cannot send this machine to its own loopback: the rule
// is checked where addresses are known.
func TestForeignLoopback(t *testing.T) {
	o, _ := options(t)
	o = o.withDefaults()
	d, err := newDialer("registry.example.com", false, o, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost", "x.localhost", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "100.100.100.200"} {
		if d.checkForeign(host) == nil {
			t.Errorf("%s allowed", host)
		}
	}
	for _, host := range []string{"10.0.0.1", "192.168.1.1", "93.184.216.34", "2606:2800::1", "cdn.example.net"} {
		if err := d.checkForeign(host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := d.controlForeign("tcp", "127.0.0.1:80", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("control: %v", err)
	}
	d.ownIsLocal.Store(true)
	if d.checkForeign("127.0.0.1") != nil || d.checkForeign("169.254.169.254") == nil {
		t.Error("a registry on loopback may send to loopback, and to nothing else")
	}
}

// A49: an upload that is sent to another host carries no credentials there.
func TestUploadLocation(t *testing.T) {
	var seen atomic.Value
	seen.Store("")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(seen.Load().(string) + r.Method + r.Header.Get("Authorization") + " ")
		w.Header().Set("Location", "/there")
		w.WriteHeader(map[string]int{"PATCH": 202, "PUT": 201}[r.Method])
	}))
	defer other.Close()
	s := newServer(t)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if user, _, _ := r.BasicAuth(); user != "user" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		switch {
		case r.Method == http.MethodPost:
			w.Header().Set("Location", other.URL+"/upload")
			w.WriteHeader(202)
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.WriteHeader(201)
		default:
			return false
		}
		return true
	})
	o, _ := options(t)
	login(t, o, s.host(), "user", "secret!")
	if _, err := Push(testContext(t), s.ref(t, "a"), randomImage(t, 100, 1), o); err != nil {
		t.Fatal(err)
	}
	if got := seen.Load().(string); strings.Count(got, "PATCH ") != 2 || strings.Count(got, "PUT ") != 2 {
		t.Errorf("the other host saw %q", got)
	}
}

// A50: what never ends, ends.
func TestEndless(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request)
		text  string
	}{
		{"header bomb", func(w http.ResponseWriter, r *http.Request) {
			for i := range 2000 {
				w.Header().Set("X-"+strconv.Itoa(i), strings.Repeat("x", 1000))
			}
			w.WriteHeader(200)
		}, "header"},
		{"one long header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 10<<20))
			w.WriteHeader(200)
		}, "header"},
		{"endless chunks", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("{"), 1<<16)); err != nil {
					return
				}
			}
		}, "larger than"},
		{"silence in the body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			_, _ = w.Write([]byte("{"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "no data"},
		{"silence in an error", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "400"},
		{"Retry-After 10^12", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "1000000000000")
			w.WriteHeader(429)
		}, "429"},
		{"Retry-After overflow", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "99999999999999999999999999")
			w.WriteHeader(503)
		}, "503"},
		{"Retry-After in year 9999", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")
			w.WriteHeader(503)
		}, "503"},
		{"endless error text", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				if isManifest(r) {
					c.serve(w, r)
					return true
				}
				return false
			})
			o, _ := options(t)
			o.StallTimeout = 100 * time.Millisecond
			start := time.Now()
			_, err := Pull(testContext(t), s.ref(t, "a"), o)
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v", err)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// A hostile registry costs no memory worth speaking of.
func TestMemoryBounded(t *testing.T) {
	s := newServer(t)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r) {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		_, _ = w.Write([]byte(`{"schemaVersion":2,"a":[`))
		_, _ = w.Write(bytes.Repeat([]byte("{},"), (maxManifest-1000)/3))
		_, _ = w.Write([]byte(`1]}`))
		return true
	})
	o, _ := options(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	_, err := Pull(testContext(t), s.ref(t, "a"), o)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("no error")
	}
	if sys := int64(after.HeapSys) - int64(before.HeapSys); sys > 256<<20 {
		t.Errorf("heap grew by %d MiB", sys>>20)
	}
}

// F62, F63: the registry is busy or broken for a while.
func TestBackOff(t *testing.T) {
	for _, code := range []int{429, 500, 502, 503, 504} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			s := newServer(t)
			pushed(t, s, "a", randomImage(t, 1000, 1))
			var n atomic.Int32
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" || n.Add(1)%3 == 0 {
					return false
				}
				w.WriteHeader(code)
				return true
			})
			o, rec := options(t)
			mustPull(t, s.ref(t, "a"), o)
			if rec.retries != 6 { // manifest, config, layer: twice each
				t.Errorf("%d retries shown: %q", rec.retries, rec.lines)
			}
		})
	}
}

func TestRetryAfterHonoured(t *testing.T) {
	s := newServer(t)
	pushed(t, s, "a", randomImage(t, 1000, 1))
	var n atomic.Int32
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if isManifest(r) && n.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
			return true
		}
		return false
	})
	o, _ := options(t)
	start := time.Now()
	mustPull(t, s.ref(t, "a"), o)
	if d := time.Since(start); d < time.Second || d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// Errors that waiting does not cure are not waited for.
func TestNoRetry(t *testing.T) {
	for _, c := range []struct {
		code int
		want error
	}{{404, ErrNotFound}, {403, ErrDenied}, {401, ErrUnauthorized}, {400, nil}, {451, nil}} {
		s := newServer(t)
		s.on(func(w http.ResponseWriter, r *http.Request) bool {
			if !isManifest(r) {
				return false
			}
			w.WriteHeader(c.code)
			_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": "MANIFEST_UNKNOWN", "message": "manifest\x1b[2J unknown"}}})
			return true
		})
		o, rec := options(t)
		_, err := Pull(testContext(t), s.ref(t, "a"), o)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || rec.retries != 0 {
			t.Errorf("%d: %v, %d retries", c.code, err, rec.retries)
		}
		if strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "manifest unknown") {
			t.Errorf("%d: %q", c.code, err.Error())
		}
	}
	// Nobody listens: said at once.
	ref, _ := reference.Parse("127.0.0.1:1/a")
	o, rec := options(t)
	_, err := Pull(testContext(t), ref, o)
	if !errors.Is(err, ErrUnreachable) || rec.retries != 0 || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("refused: %v, %d retries", err, rec.retries)
	}
}

// Foreign layers are asked of the registry, never of the URLs in the manifest.
func TestForeignLayer(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	s := newServer(t)
	img, _, h := bigImage(t, 1000)
	pushed(t, s, "a", img)
	m, _ := img.Manifest()
	m.MediaType = types.OCIManifestSchema1
	m.Layers[0].MediaType, m.Layers[0].URLs = types.DockerForeignLayer, []string{elsewhere.URL}
	raw, _ := json.Marshal(m)
	o, _ := options(t)
	if _, err := PutManifest(testContext(t), s.ref(t, "a:f"), Manifest{MediaType: types.OCIManifestSchema1, Raw: raw}, o); err != nil {
		t.Fatal(err)
	}
	mustPull(t, s.ref(t, "a:f"), o)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r, h) {
			w.WriteHeader(404)
			return true
		}
		return false
	})
	_, _, err := pullAll(t, s.ref(t, "a:f"), o)
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "foreign layer") || asked.Load() != 0 {
		t.Errorf("error %v, asked %d", err, asked.Load())
	}
}
