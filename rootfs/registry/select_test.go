package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/registry/conf"
)

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "amd64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/aarch64": "linux/arm64", "linux/arm64/v8": "linux/arm64",
		"linux/arm": "linux/arm/v7", "linux/armel": "linux/arm/v6", "linux/arm/6": "linux/arm/v6", "windows/amd64": "windows/amd64", "riscv64": "linux/riscv64", "LINUX/AMD64": "linux/amd64",
	} {
		if p, err := ParsePlatform(in); err != nil || p.String() != want {
			t.Errorf("%s: %s %v", in, p, err)
		}
	}
	for _, in := range []string{"/", "linux/", "a/b/c/d", "linux/amd64;x", "linux/../x", "\x1b"} {
		if p, err := ParsePlatform(in); err == nil {
			t.Errorf("%q: %v", in, p)
		}
	}
}

func TestChoose(t *testing.T) {
	entry := func(name string) v1.Descriptor {
		if name == "-" {
			return v1.Descriptor{MediaType: types.OCIManifestSchema1}
		}
		parts := strings.Split(name+"/", "/")
		return v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}}
	}
	for _, c := range []struct{ want, index, first string }{
		{"linux/amd64", "linux/arm64 linux/amd64", "linux/amd64"},
		{"linux/amd64", "linux/amd64/v3 linux/amd64", "linux/amd64"},
		{"linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v3 linux/amd64/v4", "linux/amd64/v3"},
		{"linux/amd64/v3", "linux/amd64 linux/amd64/v4", "linux/amd64"},
		{"linux/amd64", "linux/386", "linux/386"},
		{"linux/386", "linux/amd64", ""},
		{"linux/arm64", "linux/arm/v7 linux/arm64/v8", "linux/arm64/v8"},
		{"linux/arm64", "linux/arm/v6 linux/arm/v7", "linux/arm/v7"},
		{"linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm64", "linux/arm/v6"},
		{"linux/arm/v6", "linux/arm/v7 linux/arm/v5", "linux/arm/v5"},
		{"linux/s390x", "linux/amd64 unknown/unknown", ""},
		{"linux/amd64", "unknown/unknown linux/amd64", "linux/amd64"},
		{"linux/amd64", "windows/amd64", ""},
		{"linux/amd64", "- linux/amd64", "linux/amd64"},
		{"linux/amd64", "- linux/arm64", "-"},
	} {
		want, _ := ParsePlatform(c.want)
		var entries []v1.Descriptor
		for _, name := range strings.Fields(c.index) {
			entries = append(entries, entry(name))
		}
		got := ""
		if fit := choose(entries, want); len(fit) > 0 {
			got = "-"
			if p := fit[0].Platform; p != nil {
				got = strings.TrimRight(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
			}
		}
		if got != c.first {
			t.Errorf("%s of %q: %q, want %q", c.want, c.index, got, c.first)
		}
	}
}

// platformImage is an image whose config names a platform.
func platformImage(t *testing.T, platform string) v1.Image {
	t.Helper()
	p, _ := ParsePlatform(platform)
	img := randomImage(t, 100, 1)
	config, _ := img.ConfigFile()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	img, err := mutate.ConfigFile(img, config)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestIndex(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	index := v1.ImageIndex(empty.Index)
	digests := map[string]v1.Hash{}
	for _, name := range []string{"linux/amd64", "linux/arm64", "linux/arm/v7"} {
		p, _ := ParsePlatform(name)
		img := platformImage(t, name)
		digests[name], _ = img.Digest()
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	top, err := PushIndex(testContext(t), s.ref(t, "a"), index, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range digests {
		o.Platform = name
		img, _ := mustPull(t, s.ref(t, "a"), o)
		if got, _ := img.Digest(); got != want || img.Platform().String() != name || img.RepoDigest() != top || img.Index() == nil {
			t.Errorf("%s: %v %v", name, got, img.Platform())
		}
	}
	o.Platform = "linux/s390x"
	_, err = Pull(testContext(t), s.ref(t, "a"), o)
	if !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/s390x: the image has linux/amd64, linux/arm64, linux/arm/v7") {
		t.Errorf("error %v", err)
	}
	// A plain image of another platform: refused when one was asked for.
	pushed(t, s, "plain", platformImage(t, "linux/arm64"))
	o.Platform = "linux/amd64"
	if _, err = Pull(testContext(t), s.ref(t, "plain"), o); !errors.Is(err, ErrPlatform) {
		t.Errorf("error %v", err)
	}
	o.Platform = ""
	if img, _ := mustPull(t, s.ref(t, "plain"), o); img.Runnable() != (mustHost(t) == "arm64") {
		t.Error("Runnable")
	}
}

func mustHost(t *testing.T) string {
	p, err := ParsePlatform("")
	if err != nil {
		t.Fatal(err)
	}
	return p.Architecture
}

func writeConf(t *testing.T, o Options, name, text string) {
	t.Helper()
	if err := os.MkdirAll(o.Dirs.User, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dirs.User, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Mirrors first, in order; a mirror that fails in any way is passed over and
// said.
func TestMirrors(t *testing.T) {
	img := randomImage(t, 1000, 1)
	good, empty, liar := newServer(t), newServer(t), newServer(t)
	pushed(t, good, "mirror/debian:13", img)
	digest, _ := img.Digest()
	liar.on(func(w http.ResponseWriter, r *http.Request) bool {
		if isManifest(r) {
			reply(w, "text/html", "<html>")
		}
		return isManifest(r)
	})
	o, rec := options(t)
	writeConf(t, o, "registries.conf", fmt.Sprintf(`
[[registry]]
prefix = "docker.io/library"
location = "127.0.0.1:1/library"
[[registry.mirror]]
location = %q
[[registry.mirror]]
location = %q
[[registry.mirror]]
location = %q
`, empty.host()+"/mirror", liar.host()+"/mirror", good.host()+"/mirror"))
	ref := mustRef(t, "debian:13")
	login(t, o, "docker.io", "hub", "hub-secret")
	got, _ := mustPull(t, ref, o)
	if d, _ := got.Digest(); d != digest || got.Reference() != ref {
		t.Errorf("%v", d)
	}
	if len(rec.lines) != 2 || !strings.Contains(rec.lines[0], "mirror "+empty.host()+": manifest for ") || !strings.Contains(rec.lines[1], "text/html") {
		t.Errorf("notes %q", rec.lines)
	}
	for _, s := range []*server{good, empty, liar} {
		for _, a := range s.auths {
			if a != "" {
				t.Errorf("a mirror saw %q", a)
			}
		}
	}
	// With a wrong image in all mirrors the error is the registry's own.
	good.on(liar.hook)
	if _, err := Pull(testContext(t), ref, o); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}

func TestBlockedAndPolicy(t *testing.T) {
	s := newServer(t)
	pushed(t, s, "a", randomImage(t, 10, 1))
	o, _ := options(t)
	writeConf(t, o, "registries.conf", fmt.Sprintf("[[registry]]\nlocation=%q\nblocked=true", s.host()))
	before := len(s.requests)
	if _, err := Pull(testContext(t), s.ref(t, "a"), o); !errors.Is(err, conf.ErrBlocked) {
		t.Errorf("error %v", err)
	}
	if _, err := Push(testContext(t), s.ref(t, "a"), randomImage(t, 10, 1), o); !errors.Is(err, conf.ErrBlocked) {
		t.Errorf("push: %v", err)
	}
	_ = os.Remove(filepath.Join(o.Dirs.User, "registries.conf"))
	for _, text := range []string{`{"default":[{"type":"reject"}]}`, `{"default":[{"type":"sigstoreSigned"}]}`, `{"default":`, ``, `[]`} {
		writeConf(t, o, "policy.json", text)
		if _, err := Pull(testContext(t), s.ref(t, "a"), o); !errors.Is(err, conf.ErrPolicy) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if len(s.requests) != before {
		t.Error("the registry was asked all the same")
	}
	writeConf(t, o, "policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	mustPull(t, s.ref(t, "a"), o)
}

// A broken setting never means "no setting".
func TestBrokenConf(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	writeConf(t, o, "registries.conf", "[[registry]\n")
	if _, err := Pull(testContext(t), s.ref(t, "a"), o); err == nil || !strings.Contains(err.Error(), "registries.conf") || len(s.requests) != 0 {
		t.Errorf("error %v", err)
	}
}

func TestPushMount(t *testing.T) {
	s := newServer(t)
	img := randomImage(t, 1000, 2)
	pushed(t, s, "base", img)
	o, _ := options(t)
	o.MountFrom = []string{"nothing", "base"}
	if _, err := Push(testContext(t), s.ref(t, "derived"), img, o); err != nil {
		t.Fatal(err)
	}
	mustPull(t, s.ref(t, "derived"), o)
}

// However many repositories may have a layer, few are asked for it.
func TestPushMountsAreBounded(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	o.MountFrom = []string{"a", "b", "c", "d", "e", "f"}
	if _, err := Push(testContext(t), s.ref(t, "derived"), randomImage(t, 1000, 1), o); err != nil {
		t.Fatal(err)
	}
	if got := s.count("POST", "mount="); got != 2*maxMounts { // a layer and the configuration
		t.Errorf("%d mounts asked for", got)
	}
}

// An upload that breaks is started again, and a registry that stores something
// else is found out.
func TestPushTroubles(t *testing.T) {
	s := newServer(t)
	var n atomic.Int32
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			if n.Add(1) == 1 {
				hijack(w, "502 Bad Gateway\r\nContent-Length: 0", nil)
				return true
			}
		}
		return false
	})
	o, rec := options(t)
	if _, err := Push(testContext(t), s.ref(t, "a"), randomImage(t, 1<<20, 1), o); err != nil || rec.retries != 1 {
		t.Errorf("%v, %d retries", err, rec.retries)
	}
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			w.WriteHeader(201)
			return true
		}
		return false
	})
	if _, err := Push(testContext(t), s.ref(t, "a"), randomImage(t, 10, 1), o); !errors.Is(err, ErrVerify) {
		t.Errorf("error %v", err)
	}
}

func TestTagsPages(t *testing.T) {
	s := newServer(t)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		switch r.URL.Query().Get("last") {
		case "":
			w.Header().Set("Link", `</v2/a/tags/list?last=b>; rel="next"`)
			_, _ = w.Write([]byte(`{"tags":["a","b","../x","\u001b[2J"]}`))
		case "b":
			_, _ = w.Write([]byte(`{"tags":["c"]}`))
		case "loop":
			w.Header().Set("Link", `<`+r.URL.RequestURI()+`>; rel="next"`)
			_, _ = w.Write([]byte(`{"tags":["c"]}`))
		}
		return true
	})
	o, _ := options(t)
	tags, err := ListTags(testContext(t), s.ref(t, "a"), o)
	if err != nil || fmt.Sprint(tags) != "[a b c]" {
		t.Errorf("%q %v", tags, err)
	}
	for _, link := range []string{`<http://127.0.0.2:1/x>; rel="next"`, `</v2/a/tags/list?n=1000>; rel="next"`} {
		s.on(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Link", link)
			_, _ = w.Write([]byte(`{"tags":["c"]}`))
			return true
		})
		if _, err := ListTags(testContext(t), s.ref(t, "a"), o); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", link, err)
		}
	}
	i := 0
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		i++
		w.Header().Set("Link", fmt.Sprintf(`</v2/a/tags/list?last=%d>; rel="next"`, i))
		_, _ = w.Write([]byte(`{"tags":["c"]}`))
		return true
	})
	if _, err := ListTags(testContext(t), s.ref(t, "a"), o); !errors.Is(err, ErrVerify) {
		t.Errorf("endless pages: %v", err)
	}
}

func TestSearch(t *testing.T) {
	s := newServer(t)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/search" {
			return false
		}
		var rows []map[string]any
		for i := range 10 {
			rows = append(rows, map[string]any{"name": fmt.Sprintf("%s-%d", r.URL.Query().Get("q"), i), "description": "a\x1b[31m\nb", "star_count": i, "is_official": true})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"results": rows})
		return true
	})
	o, _ := options(t)
	got, err := Search(testContext(t), s.host()+"/deb", 3, o)
	if err != nil || len(got) != 3 || got[1].Name != "deb-1" || got[1].Description != "a[31m b" || got[1].Stars != 1 || !got[1].Official {
		t.Errorf("%+v %v", got, err)
	}
	for _, limit := range []int{-1, 101} {
		if _, err := Search(testContext(t), "x", limit, o); err == nil {
			t.Errorf("limit %d", limit)
		}
	}
}

// A registry without docker's search is searched by its catalog; one that shows
// none says so in one line.
func TestSearchCatalog(t *testing.T) {
	for name, test := range map[string]struct {
		catalog http.HandlerFunc
		want    int
		fails   string
	}{
		"catalog": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") == "" {
				w.Header().Set("Link", `</v2/_catalog?n=1000&last=b>; rel="next"`)
				fmt.Fprint(w, `{"repositories":["a/debian","b"]}`)
				return
			}
			fmt.Fprint(w, `{"repositories":["c/debian-slim","d\u001b[31m/debian"]}`)
		}, 3, ""},
		"none":  {func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, 0, "neither docker's search nor a catalog"},
		"other": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) }, 0, "neither docker's search nor a catalog"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.on(func(w http.ResponseWriter, r *http.Request) bool {
				switch r.URL.Path {
				case "/v1/search":
					http.NotFound(w, r)
				case "/v2/_catalog":
					test.catalog(w, r)
				default:
					return false
				}
				return true
			})
			o, _ := options(t)
			got, err := Search(testContext(t), s.host()+"/debian", 0, o)
			if len(got) != test.want || (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("%+v %v", got, err)
			}
			for _, one := range got {
				if !strings.HasPrefix(one.Name, s.host()+"/") || strings.ContainsRune(one.Name, 27) {
					t.Errorf("name %q", one.Name)
				}
			}
		})
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":1,"digest":"sha256:` + strings.Repeat("a", 64) + `"},"layers":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range append(accepted, "") {
			m, err := checkManifest(data, kind, "")
			if err != nil {
				continue
			}
			if m.IsIndex() {
				_, _ = pick(m, v1.Platform{OS: "linux", Architecture: "amd64"})
				continue
			}
			if img, err := parseImage(m.Raw); err == nil {
				for _, l := range img.Layers {
					if strings.ContainsAny(l.Digest.String(), "/.\\\x00") {
						t.Errorf("digest %q", l.Digest)
					}
				}
			}
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 10-99/100")
	f.Add("bytes 0-0/*")
	f.Fuzz(func(t *testing.T, s string) {
		from, to, _, ok := parseContentRange(s)
		if ok && (from < 0 || to < from) {
			t.Errorf("%q: %d-%d", s, from, to)
		}
	})
}

// An entry of an index that turns out to be of another type than it said.
func TestIndexEntryType(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	img := randomImage(t, 10, 1)
	pushed(t, s, "a:plain", img)
	digest, _ := img.Digest()
	size, _ := img.Size()
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"size":%d,"digest":%q}]}`, types.OCIImageIndex, types.OCIManifestSchema1, size, digest)
	if _, err := PutManifest(testContext(t), s.ref(t, "a:x"), Manifest{MediaType: types.OCIImageIndex, Raw: []byte(body)}, o); err != nil {
		t.Fatal(err)
	}
	if _, err := Pull(testContext(t), s.ref(t, "a:x"), o); !errors.Is(err, ErrVerify) || !strings.Contains(err.Error(), "its index says") {
		t.Errorf("error %v", err)
	}
}
