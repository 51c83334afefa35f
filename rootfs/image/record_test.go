package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fixture is a data root with images, in the store's own format but without its
// library, which this package does not use.
type fixture struct {
	t      testing.TB
	root   string
	images []string // JSON
	layers []string
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, root: t.TempDir()}
	for _, dir := range []string{"overlay-images", "overlay-layers", "overlay"} {
		f.mkdir(filepath.Join("storage", dir))
	}
	f.layer("aa", "")
	f.layer("bb", "aa")
	return f
}

func (f *fixture) mkdir(dir string) {
	if err := os.MkdirAll(filepath.Join(f.root, dir), 0o700); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) write(name, text string) {
	f.mkdir(filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(f.root, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) layer(id, parent string) {
	f.write("storage/overlay/"+id+"/link", "LINK"+id)
	f.layers = append(f.layers, fmt.Sprintf(`{"id":%q,"parent":%q,"diff-digest":"sha256:%s","diff-size":1000}`, id, parent, strings.Repeat(id, 32)))
	f.write("storage/overlay-layers/layers.json", "["+strings.Join(f.layers, ",")+"]")
}

// image adds an image whose ID is begin and zeros.
func (f *fixture) image(begin, arch, names, note string) string {
	id := begin + strings.Repeat("0", 64-len(begin))
	config := fmt.Sprintf(`{"architecture":%q,"os":"linux","created":"2024-01-02T03:04:05Z","config":{"Env":["A=b"],"Labels":{"k":"v"}},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"RUN x"},{"empty_layer":true}]}`, arch)
	f.write("storage/overlay-images/"+id+"/"+blobName("sha256:"+id), config)
	if names != "" {
		names = `"` + strings.ReplaceAll(names, " ", `","`) + `"`
	}
	f.images = append(f.images, fmt.Sprintf(`{"id":%q,"names":[%s],"layer":"bb","metadata":%q,"created":"2024-01-02T03:04:05Z","big-data-digests":{"sha256:%s":"x","manifest":"sha256:%s"}}`,
		id, names, note, id, strings.Repeat(begin[:1], 64)))
	f.write("storage/overlay-images/images.json", "["+strings.Join(f.images, ",")+"]")
	return id
}

func (f *fixture) resolve(ref, platform string) *Record {
	f.t.Helper()
	record, err := Resolve(f.root, ref, platform)
	if err != nil {
		f.t.Fatal(err)
	}
	return record
}

func TestLookup(t *testing.T) {
	f := newFixture(t)
	id := f.image("1234", "amd64", "docker.io/library/debian:latest", "")
	other := f.image("1299", "arm64", "", "")
	if _, err := Lookup(f.root, "debian", ""); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before the first record: %v", err)
	}
	f.resolve("debian", "")
	f.resolve(other, "")
	digest := "debian@sha256:" + strings.Repeat("1", 64)
	f.resolve(digest, "")
	f.resolve("debian", "linux/amd64")
	tests := map[string]struct {
		ref, platform, id string
		err               error
	}{
		"name":                     {"debian", "", id, nil},
		"name with tag":            {"debian:latest", "", id, nil},
		"whole name":               {"docker.io/library/debian:latest", "", id, nil},
		"digest":                   {digest, "", id, nil},
		"name, tag and digest":     {"debian:other@sha256:" + strings.Repeat("1", 64), "", id, nil},
		"platform":                 {"debian", "linux/amd64", id, nil},
		"platform not resolved":    {"debian", "linux/arm64", "", ErrNotFound},
		"ID":                       {id, "", id, nil},
		"sha256:ID":                {"sha256:" + id, "", id, nil},
		"prefix":                   {"123", "", id, nil},
		"sha256:prefix":            {"sha256:129", "", other, nil},
		"ID of platform":           {other, "linux/arm64/v8", other, nil},
		"ID of another platform":   {other, "linux/amd64", "", ErrNotFound},
		"ambiguous prefix":         {"12", "", "", ErrNotFound},
		"unknown name":             {"alpine", "", "", ErrNotFound},
		"unknown ID":               {strings.Repeat("f", 64), "", "", ErrNotFound},
		"not a name (A35)":         {"../../etc", "", "", ErrNotFound},
		"digest that is none, A32": {"sha256:../..", "", "", ErrNotFound},
		"empty":                    {"", "", "", ErrNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			record, err := Lookup(f.root, test.ref, test.platform)
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if err == nil && record.ID != test.id {
				t.Errorf("%s, want %s", record.ID, test.id)
			}
		})
	}
	record, _ := Lookup(f.root, "debian", "")
	want := []string{filepath.Join(f.root, "storage/overlay/bb/diff"), filepath.Join(f.root, "storage/overlay/aa/diff")}
	if fmt.Sprint(record.Layers) != fmt.Sprint(want) || record.Short[0] != "l/LINKbb" {
		t.Errorf("layers %v %v", record.Layers, record.Short)
	}
	if record.Config.Env[0] != "A=b" || record.Reference != "docker.io/library/debian:latest" || record.Stamp.Inode == 0 {
		t.Errorf("%+v", record)
	}
}

func TestLookupStale(t *testing.T) {
	f := newFixture(t)
	id := f.image("1234", "amd64", "docker.io/library/debian:latest", "")
	f.resolve("debian", "")
	time.Sleep(time.Millisecond)
	f.images = nil
	newer := f.image("5678", "amd64", "docker.io/library/debian:latest", "")
	if _, err := Lookup(f.root, "debian", ""); !errors.Is(err, ErrStale) {
		t.Fatalf("after a change: %v", err)
	}
	if record := f.resolve("debian", ""); record.ID != newer {
		t.Errorf("resolved %s", record.ID)
	}
	if _, err := Lookup(f.root, id, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("the old image's record: %v", err)
	}
}

// A40: half a record, or anybody's bytes, is asked for again.
func TestLookupCorrupt(t *testing.T) {
	f := newFixture(t)
	f.image("1234", "amd64", "docker.io/library/debian:latest", "")
	f.resolve("debian", "")
	name := filepath.Join(Dir(f.root), fileName("docker.io/library/debian:latest", ""))
	for _, text := range []string{"", "{", "null", "[]", `{"ID":"x"}`, `{"ID":"` + strings.Repeat("a", 64) + `","Layers":["relative"]}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Lookup(f.root, "debian", ""); !errors.Is(err, ErrStale) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", text, err)
		}
	}
	f.resolve("debian", "")
	if _, err := Lookup(f.root, "debian", ""); err != nil {
		t.Error(err)
	}
}

func TestRecordFiles(t *testing.T) {
	f := newFixture(t)
	f.image("1234", "amd64", "docker.io/library/debian:latest", "")
	f.resolve("debian", "")
	entries, err := os.ReadDir(Dir(f.root))
	if err != nil || len(entries) != 3 {
		t.Fatal(entries, err)
	}
	for _, entry := range entries {
		if info, _ := entry.Info(); info.Mode().IsRegular() && info.Mode() != 0o600 {
			t.Errorf("%s: %v", entry.Name(), info.Mode())
		}
	}
}

func TestFind(t *testing.T) {
	f := newFixture(t)
	amd := f.image("aaaa", "amd64", "", `{"bryo":{"own":true,"platform-names":["docker.io/library/app:1"]}}`)
	arm := f.image("bbbb", "arm64", "docker.io/library/app:1", `{"bryo":{"own":true,"platform-names":["docker.io/library/app:1"]}}`)
	cafe := f.image("cafe", "amd64", "", "")
	named := f.image("dddd", "amd64", "docker.io/library/cafe:latest", "")
	tests := map[string]struct{ ref, platform, id string }{
		"name":                       {"app:1", "", arm},
		"name and its platform":      {"app:1", "linux/arm64", arm},
		"platform that had the name": {"app:1", "linux/amd64", amd},
		"name before ID":             {"cafe", "", named},
		"ID":                         {"cafe0", "", cafe},
	}
	images, err := List(f.root)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := Find(images, test.ref, test.platform)
			if err != nil || found.ID != test.id {
				t.Errorf("%v %v", found, err)
			}
		})
	}
	if _, err := Find(images, "app:1", "linux/s390x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	var ambiguous *AmbiguousError
	f.image("dddf", "amd64", "", "")
	images, _ = List(f.root)
	if _, err := Find(images, "ddd", ""); !errors.As(err, &ambiguous) {
		t.Error(err)
	}
	if _, err := Find(images, "nosuch", ""); err == nil || err.Error() != "No such image: nosuch:latest" {
		t.Error(err)
	}
}

func TestChainDamaged(t *testing.T) {
	image := Image{ID: strings.Repeat("1", 64), TopLayer: "a"}
	ring := map[string]Layer{"a": {ID: "a", Parent: "b"}, "b": {ID: "b", Parent: "a"}}
	if _, err := image.Chain(ring); err == nil {
		t.Error("a ring of layers was accepted")
	}
	if _, err := image.Chain(map[string]Layer{}); err == nil {
		t.Error("a missing layer was accepted")
	}
}

func BenchmarkLookup(b *testing.B) {
	f := newFixture(b)
	for i := range 100 {
		f.image(fmt.Sprintf("%04d", i), "amd64", fmt.Sprintf("docker.io/library/i%d:latest", i), "")
		f.resolve(fmt.Sprintf("i%d", i), "")
	}
	for i := range 100 {
		f.resolve(fmt.Sprintf("i%d", i), "")
	}
	b.Run("name", func(b *testing.B) {
		for b.Loop() {
			if _, err := Lookup(f.root, "i42", ""); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("prefix", func(b *testing.B) {
		for b.Loop() {
			if _, err := Lookup(f.root, "0042", ""); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"ID":"` + strings.Repeat("a", 64) + `","Layers":["/a"],"Config":{"Env":["A=b"]}}`))
	f.Fuzz(func(t *testing.T, blob []byte) {
		record, err := parseRecord(blob)
		if err != nil {
			return
		}
		for _, entry := range record.Config.Env {
			if CheckEnv(entry) != nil {
				t.Errorf("environment entry %q", entry)
			}
		}
	})
}
