package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/image"
	"bryo/rootfs/store/nstest"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		os.Exit(child(root))
	}
	nstest.Main(m)
}

// fake is an image of whatever bytes a test wants.
type fake struct {
	manifest, config []byte
	layers           []*fakeLayer
	local            bool
}

type fakeLayer struct {
	data    []byte // compressed or not
	digest  string
	size    int64
	diffID  string
	fetched int
	open    func() (io.ReadCloser, error) // in place of data
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(s[:])
}

func plainLayer(data []byte) *fakeLayer {
	return &fakeLayer{data: data, digest: sum(data), size: int64(len(data)), diffID: sum(data)}
}

func gzipLayer(data []byte) *fakeLayer {
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	w.Write(data)
	w.Close()
	return &fakeLayer{data: buffer.Bytes(), digest: sum(buffer.Bytes()), size: int64(buffer.Len()), diffID: sum(data)}
}

// tarOf makes an archive of names and contents; a name that ends with / is a directory.
func tarOf(pairs ...string) []byte {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for i := 0; i < len(pairs); i += 2 {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1])), ModTime: time.Unix(1e9, 0)}
		if strings.HasSuffix(pairs[i], "/") {
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(header); err != nil {
			panic(err)
		}
		w.Write([]byte(pairs[i+1]))
	}
	w.Close()
	return buffer.Bytes()
}

// newFake makes a right image; tests then spoil it.
func newFake(label string, layers ...*fakeLayer) *fake {
	config := map[string]any{"os": "linux", "architecture": "amd64", "created": "2024-01-02T03:04:05Z",
		"config": map[string]any{"Cmd": []string{"sh"}, "Labels": map[string]string{"label": label}}}
	diffIDs := []string{}
	for _, l := range layers {
		diffIDs = append(diffIDs, l.diffID)
	}
	config["rootfs"] = map[string]any{"type": "layers", "diff_ids": diffIDs}
	f := &fake{layers: layers}
	f.config, _ = json.Marshal(config)
	f.remake()
	return f
}

func (f *fake) remake() {
	layers := []descriptor{}
	for _, l := range f.layers {
		layers = append(layers, descriptor{MediaType: string(types.OCILayer), Digest: l.digest, Size: l.size})
	}
	f.manifest, _ = json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": types.OCIManifestSchema1,
		"config": descriptor{string(types.OCIConfigJSON), sum(f.config), int64(len(f.config))}, "layers": layers})
}

func (f *fake) Local() bool                             { return f.local }
func (f *fake) RawManifest() ([]byte, error)            { return f.manifest, nil }
func (f *fake) RawConfigFile() ([]byte, error)          { return f.config, nil }
func (f *fake) MediaType() (types.MediaType, error)     { return types.OCIManifestSchema1, nil }
func (f *fake) Size() (int64, error)                    { return int64(len(f.manifest)), nil }
func (f *fake) ConfigName() (v1.Hash, error)            { return v1.NewHash(sum(f.config)) }
func (f *fake) ConfigFile() (*v1.ConfigFile, error)     { return nil, errors.New("not asked for") }
func (f *fake) Digest() (v1.Hash, error)                { return v1.NewHash(sum(f.manifest)) }
func (f *fake) Manifest() (*v1.Manifest, error)         { return nil, errors.New("not asked for") }
func (f *fake) LayerByDigest(v1.Hash) (v1.Layer, error) { return nil, errors.New("not asked for") }
func (f *fake) LayerByDiffID(v1.Hash) (v1.Layer, error) { return nil, errors.New("not asked for") }
func (f *fake) Layers() (layers []v1.Layer, err error) {
	for _, l := range f.layers {
		layers = append(layers, l)
	}
	return layers, nil
}

func (l *fakeLayer) Digest() (v1.Hash, error)             { return v1.NewHash(l.digest) }
func (l *fakeLayer) DiffID() (v1.Hash, error)             { return v1.NewHash(l.diffID) }
func (l *fakeLayer) Size() (int64, error)                 { return l.size, nil }
func (l *fakeLayer) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (l *fakeLayer) Uncompressed() (io.ReadCloser, error) { return nil, errors.New("not asked for") }
func (l *fakeLayer) Compressed() (io.ReadCloser, error) {
	l.fetched++
	if l.open != nil {
		return l.open()
	}
	return io.NopCloser(bytes.NewReader(l.data)), nil
}

func newStore(t testing.TB, options Options) *Store {
	nstest.Need(t)
	options.SingleUID = nstest.Single()
	s, err := Open(t.TempDir(), options)
	if err != nil {
		if strings.Contains(err.Error(), "overlay") {
			t.Skip("no overlay in user namespaces: ", err)
		}
		t.Fatal(err)
	}
	return s
}

func (s *Store) mustImport(t testing.TB, f *fake, names ...string) *image.Record {
	t.Helper()
	record, err := s.Import(context.Background(), f, ImportOptions{Names: names})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// clean fails the test unless the store has no trace of any image.
func (s *Store) clean(t testing.TB) {
	t.Helper()
	images, err := image.List(s.root)
	if err != nil || len(images) != 0 {
		t.Errorf("images %v %v", images, err)
	}
	layers, err := image.Layers(s.root)
	if err != nil || len(layers) != 0 {
		t.Errorf("layers %v %v", layers, err)
	}
	entries, _ := os.ReadDir(filepath.Join(s.root, "storage/overlay"))
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != "l" && entry.Name() != "staging" && !strings.HasPrefix(entry.Name(), "temp") {
			t.Errorf("left behind: %s", entry.Name())
		}
	}
	for _, dir := range []string{"l", "staging"} {
		if entries, _ := os.ReadDir(filepath.Join(s.root, "storage/overlay", dir)); len(entries) > 0 {
			t.Errorf("left behind in %s: %v", dir, entries)
		}
	}
	if entries, _ := filepath.Glob(filepath.Join(s.root, "storage/overlay-layers/*.tar-split.gz")); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestImport(t *testing.T) {
	s := newStore(t, Options{})
	base, top := gzipLayer(tarOf("etc/", "", "etc/hosts", "one")), plainLayer(tarOf("etc/hosts", "two", "etc/.wh.gone", ""))
	record := s.mustImport(t, newFake("a", base, top), "debian")
	if record.Reference != "docker.io/library/debian:latest" || len(record.Layers) != 2 || record.Config.Cmd[0] != "sh" {
		t.Errorf("%+v", record)
	}
	for i, want := range []string{"two", "one"} {
		if text, err := os.ReadFile(filepath.Join(record.Layers[i], "etc/hosts")); err != nil || string(text) != want {
			t.Errorf("layer %d: %q %v", i, text, err)
		}
	}
	found, err := image.Lookup(s.root, "debian", "")
	if err != nil || found.ID != record.ID {
		t.Errorf("lookup: %v", err)
	}
	stream, err := s.Diff(filepath.Base(filepath.Dir(record.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := io.ReadAll(stream); err != nil || sum(again) != top.diffID {
		t.Errorf("archive again: %v", err)
	}
}

// Layers that are there are not fetched again, whatever image they belong to.
func TestImportShares(t *testing.T) {
	s := newStore(t, Options{})
	base := tarOf("base", "base")
	s.mustImport(t, newFake("a", gzipLayer(base)), "one")
	same, top := gzipLayer(base), gzipLayer(tarOf("top", "top"))
	s.mustImport(t, newFake("b", same, top), "two")
	if same.fetched != 0 || top.fetched != 1 {
		t.Errorf("fetched %d %d", same.fetched, top.fetched)
	}
	// The same contents on another parent come from the store.
	moved := gzipLayer(base)
	s.mustImport(t, newFake("c", gzipLayer(tarOf("other", "x")), moved), "three")
	if moved.fetched != 0 {
		t.Errorf("fetched %d", moved.fetched)
	}
	// Twice in one image: once.
	first, second := gzipLayer(tarOf("twice", "x")), gzipLayer(tarOf("twice", "x"))
	s.mustImport(t, newFake("d", first, second), "four")
	if first.fetched+second.fetched != 1 {
		t.Errorf("fetched %d %d", first.fetched, second.fetched)
	}
}

// A01-A18 as far as the store, not the unpacker, is what refuses.
func TestImportRefused(t *testing.T) {
	good := tarOf("etc/", "", "etc/hosts", strings.Repeat("contents ", 1000))
	other := tarOf("other", "x")
	tests := map[string]struct {
		spoil func(f *fake)
		want  string
	}{
		"A17 truncated gzip":     {func(f *fake) { l := f.layers[1]; l.data = l.data[:len(l.data)/2] }, "cut off after"},
		"A17 garbage":            {func(f *fake) { f.layers[1].data[20] ^= 0xff }, "digest is"},
		"A17 empty body":         {func(f *fake) { f.layers[1].data = nil }, "cut off after 0 of"},
		"A17 garbage as archive": {func(f *fake) { *f.layers[1] = *plainLayer([]byte(strings.Repeat("garbage", 500))) }, "archive/tar"},
		"A18 DiffID": {func(f *fake) {
			f.layers[1].data = gzipLayer(other).data
			f.layers[1].digest = sum(f.layers[1].data)
			f.layers[1].size = int64(len(f.layers[1].data))
		}, "unpacked digest is"},
		"A18 a layer too many": {func(f *fake) { f.layers = append(f.layers, gzipLayer(other)) }, "3 layers, the configuration 2"},
		"A18 a layer missing":  {func(f *fake) { f.layers = f.layers[:1] }, "1 layers, the configuration 2"},
		"A41 digest": {func(f *fake) {
			f.layers[1].data = gzipLayer(other).data
			f.layers[1].size = int64(len(f.layers[1].data))
		}, "digest is"},
		"A42 long body": {func(f *fake) { f.layers[1].data = append(bytes.Clone(f.layers[1].data), "more"...) }, "more than the"},
		"A42 endless body": {func(f *fake) {
			f.layers[1].open = func() (io.ReadCloser, error) { return io.NopCloser(endless{}), nil }
		}, "more than the"},
		"A42 short size":        {func(f *fake) { f.layers[1].size-- }, "more than the"},
		"A42 long size":         {func(f *fake) { f.layers[1].size++ }, "bytes"},
		"A31 index as manifest": {func(f *fake) { f.manifest = append(f.manifest[:len(f.manifest)-1], `,"manifests":[]}`...) }, "also an index"},
		"A31 wrong media type": {func(f *fake) {
			f.manifest = bytes.Replace(f.manifest, []byte("manifest.v1+json"), []byte("index.v1+json"), 1)
		}, "is no manifest"},
		"A31 schema 1": {func(f *fake) {
			f.manifest = bytes.Replace(f.manifest, []byte(`"schemaVersion":2`), []byte(`"schemaVersion":1`), 1)
		}, "schema version 1"},
		"artifact": {func(f *fake) {
			f.manifest = bytes.Replace(f.manifest, []byte("image.config"), []byte("helm.config"), 1)
		}, "not a container image"},
		"A30 manifest":      {func(f *fake) { f.manifest = bytes.Repeat([]byte("["), 5<<20) }, "the limit is"},
		"config of another": {func(f *fake) { f.config = append(f.config, ' ') }, "the manifest says"},
		"A32 digest": {func(f *fake) {
			f.manifest = bytes.Replace(f.manifest, []byte(f.layers[1].digest), []byte("sha256:../../../x"), 1)
		}, "sha256:../../../x"},
		"A01 in a layer": {func(f *fake) { *f.layers[1] = *gzipLayer(tarOf("../x", "x")) }, "leaves the layer"},
		"A27": {func(f *fake) {
			f.config = bytes.Replace(f.config, []byte(`"Cmd"`), []byte(`"Env":["SECRET"],"Cmd"`), 1)
			f.remake()
		}, "KEY=VALUE"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{})
			f := newFake("x", gzipLayer(other), gzipLayer(good))
			original := f.layers[1].diffID
			manifest := string(f.manifest)
			test.spoil(f)
			if string(f.manifest) == manifest && !strings.HasPrefix(name, "config") {
				if f.layers[len(f.layers)-1].diffID != original && len(f.layers) == 2 { // the layer was replaced whole
					f.config = bytes.Replace(f.config, []byte(original), []byte(f.layers[1].diffID), 1)
				}
				f.remake()
			}
			done := make(chan error, 1)
			go func() {
				_, err := s.Import(context.Background(), f, ImportOptions{Names: []string{"bad"}})
				done <- err
			}()
			select {
			case err := <-done:
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v; want %s", err, test.want)
				}
				if strings.Contains(fmt.Sprint(err), "\n") {
					t.Errorf("not one line: %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("hangs")
			}
			s.clean(t)
		})
	}
}

// sworn says of its bytes that they have the digest.
type sworn struct {
	io.ReadCloser
	digest string
}

func (s sworn) Verified() string { return s.digest }

// A source that has verified another digest than the layer's is not believed, and
// one that has verified the right one only what it can know: the bytes' digest.
func TestVerifier(t *testing.T) {
	good := tarOf("etc/hosts", "contents")
	for name, test := range map[string]struct {
		digest func(*fakeLayer) string
		spoil  func(*fakeLayer)
		want   string
	}{
		"another":      {func(*fakeLayer) string { return sum(nil) }, func(l *fakeLayer) { l.data[len(l.data)-20] ^= 1 }, "digest is"},
		"none":         {func(*fakeLayer) string { return "" }, func(l *fakeLayer) { l.digest = sum(nil) }, "digest is"},
		"wrong DiffID": {func(l *fakeLayer) string { return l.digest }, func(l *fakeLayer) { l.diffID = sum(nil) }, "unpacked digest is"},
		"too short":    {func(l *fakeLayer) string { return l.digest }, func(l *fakeLayer) { l.size++ }, "cut off after"},
		"good":         {func(l *fakeLayer) string { return l.digest }, func(*fakeLayer) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{})
			l := gzipLayer(good)
			test.spoil(l)
			l.open = func() (io.ReadCloser, error) {
				return sworn{io.NopCloser(bytes.NewReader(l.data)), test.digest(l)}, nil
			}
			_, err := s.Import(context.Background(), newFake("x", l), ImportOptions{Names: []string{"a"}})
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v; want %q", err, test.want)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A16: gzip of zeros, 1000:1.
func TestImportBomb(t *testing.T) {
	s := newStore(t, Options{})
	s.unpack.Limits.RatioFrom = 4 << 20
	f := newFake("bomb", gzipLayer(tarOf("zeros", strings.Repeat("\x00", 64<<20))))
	_, err := s.Import(context.Background(), f, ImportOptions{})
	if err == nil || !strings.Contains(err.Error(), "expand to more than") {
		t.Errorf("error %v", err)
	}
	s.clean(t)
}

// Errors of the network keep what was right, for the next try.
func TestImportInterrupted(t *testing.T) {
	s := newStore(t, Options{Parallel: 1})
	base, top := gzipLayer(tarOf("base", "x")), gzipLayer(tarOf("top", "x"))
	f := newFake("x", base, top)
	reset := errors.New("connection reset")
	top.open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(top.data[:10]), broken{reset})), nil
	}
	if _, err := s.Import(context.Background(), f, ImportOptions{}); !errors.Is(err, reset) || errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
	top.open = nil
	s.mustImport(t, f, "x")
	if base.fetched != 1 || top.fetched != 2 {
		t.Errorf("fetched %d %d", base.fetched, top.fetched)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// A stalled body ends with its context.
func TestImportCancelled(t *testing.T) {
	s := newStore(t, Options{})
	l := gzipLayer(tarOf("f", "x"))
	started := make(chan struct{})
	l.open = func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() { writer.Write(l.data[:5]); close(started) }()
		return reader, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-started; cancel() }()
	if _, err := s.Import(ctx, newFake("x", l), ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.clean(t)
}

func TestImportWithoutLayers(t *testing.T) {
	s := newStore(t, Options{})
	record := s.mustImport(t, newFake("empty"), "empty")
	if len(record.Layers) != 1 {
		t.Fatal(record.Layers)
	}
	if info, err := os.Stat(record.Layers[0]); err != nil || !info.IsDir() {
		t.Error(err)
	}
}

// A19: many layers.
func TestImportManyLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of layers: not with -short")
	}
	for _, count := range []int{130, 500, 501} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			s := newStore(t, Options{})
			var layers []*fakeLayer
			for i := range count {
				layers = append(layers, plainLayer(tarOf(fmt.Sprintf("f%d", i), "x")))
			}
			record, err := s.Import(context.Background(), newFake("many", layers...), ImportOptions{Names: []string{"many"}})
			if count > maxLayers {
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || len(record.Layers) != count {
				t.Error(err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	s := newStore(t, Options{})
	one := s.mustImport(t, newFake("one", gzipLayer(tarOf("f", "1"))), "app:1", "quay.io/team/app:1")
	two := s.mustImport(t, newFake("two", gzipLayer(tarOf("f", "2"))), "app:1")
	lookup := func(ref, id string) {
		t.Helper()
		record, err := s.Resolve(ref, "")
		if err != nil || record.ID != id {
			t.Errorf("%s: %v %v", ref, record, err)
		}
		fast, err := image.Lookup(s.root, ref, "")
		if err != nil || fast.ID != id {
			t.Errorf("%s: record %v %v", ref, fast, err)
		}
	}
	lookup("app:1", two.ID)
	lookup("quay.io/team/app:1", one.ID)
	lookup("quay.io/team/app@"+one.Digest, one.ID)
	if err := s.Tag(one.ID, "app:1"); err != nil {
		t.Fatal(err)
	}
	lookup("app:1", one.ID)
	lookup(two.ID[:12], two.ID)
	list, err := s.List(nil)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, summary := range list {
		if summary.Dangling != (summary.ID == two.ID) {
			t.Errorf("%s: dangling %v", summary.ID, summary.Dangling)
		}
	}
	if err := s.Tag("nosuch", "x"); !errors.Is(err, image.ErrNotFound) {
		t.Error(err)
	}
	if err := s.Tag(one.ID, "x@"+one.Digest); err == nil {
		t.Error("a tag with a digest was made")
	}
}

func TestPlatforms(t *testing.T) {
	s := newStore(t, Options{})
	layer := func() *fakeLayer { return gzipLayer(tarOf("f", "1")) }
	amd := s.mustImport(t, newFake("amd", layer()), "app")
	f := newFake("arm", layer())
	f.config = bytes.Replace(f.config, []byte("amd64"), []byte("arm64"), 1)
	f.remake()
	arm := s.mustImport(t, f, "app")
	for platform, id := range map[string]string{"": arm.ID, "linux/amd64": amd.ID, "linux/arm64": arm.ID, "linux/arm64/v8": arm.ID} {
		record, err := s.Resolve("app", platform)
		if err != nil || record.ID != id {
			t.Errorf("%q: %v", platform, err)
		}
	}
	if _, err := s.Remove("app", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve("app", "linux/amd64"); !errors.Is(err, image.ErrNotFound) {
		t.Error(err)
	}
}

func lines(removed []Removed) string {
	var text []string
	for _, r := range removed {
		text = append(text, r.String())
	}
	return strings.Join(text, "\n")
}

func TestRemove(t *testing.T) {
	users := map[string][]User{}
	s := newStore(t, Options{InUse: func(id string) []User { return users[id] }})
	base := tarOf("base", "x")
	one := s.mustImport(t, newFake("one", gzipLayer(base), gzipLayer(tarOf("f", "1"))), "app:1")
	s.mustImport(t, newFake("two", gzipLayer(base)), "base:1")
	if err := s.Tag("app:1", "app:2"); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Remove("app:2", RemoveOptions{})
	if err != nil || lines(removed) != "Untagged: app:2" {
		t.Errorf("%s %v", lines(removed), err)
	}
	users[one.ID] = []User{{ID: "0123456789abcdef"}}
	var conflict *ConflictError
	if _, err := s.Remove("app:1", RemoveOptions{}); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "container 0123456789ab is using") {
		t.Error(err)
	}
	if _, err := s.Remove(one.ID, RemoveOptions{}); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "(must be forced) - image is being used by stopped container 0123456789ab") {
		t.Error(err)
	}
	users[one.ID][0].Running = true
	if _, err := s.Remove(one.ID, RemoveOptions{Force: true}); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "(cannot be forced) - image is being used by running container 0123456789ab") {
		t.Error(err)
	}
	users[one.ID][0].Running = false
	if removed, err := s.Remove("app:1", RemoveOptions{Force: true}); err != nil || lines(removed) != "Untagged: app:1\nUntagged: app@"+one.Digest {
		t.Errorf("%s %v", lines(removed), err)
	}
	if _, err := os.Stat(one.Layers[0]); err != nil {
		t.Error("layers of a container's image were removed")
	}
	if _, err := s.Remove(one.ID, RemoveOptions{Force: true}); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "cannot be forced") {
		t.Error(err)
	}
	delete(users, one.ID)
	removed, err = s.Remove(one.ID[:12], RemoveOptions{})
	if err != nil || len(removed) != 2 || removed[0].Deleted != "sha256:"+one.ID {
		t.Errorf("%s %v", lines(removed), err)
	}
	if _, err := os.Stat(one.Layers[1]); err != nil {
		t.Error("a layer that another image has was removed")
	}
	if _, err := image.Lookup(s.root, one.ID, ""); err == nil {
		t.Error("a record is left")
	}
	s.mustImport(t, newFake("two", gzipLayer(base)), "other/name:1")
	if _, err := s.Remove(s.mustResolve(t, "base:1").ID, RemoveOptions{}); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "multiple repositories") {
		t.Error(err)
	}
	if _, err := s.Remove(s.mustResolve(t, "base:1").ID, RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
	if _, err := s.Remove("base:1", RemoveOptions{}); !errors.Is(err, image.ErrNotFound) || err.Error() != "No such image: base:1" {
		t.Error(err)
	}
	s.clean(t)
}

func (s *Store) mustResolve(t testing.TB, ref string) *image.Record {
	t.Helper()
	record, err := s.Resolve(ref, "")
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestPrune(t *testing.T) {
	users := map[string][]User{}
	s := newStore(t, Options{Parallel: 1, InUse: func(id string) []User { return users[id] }})
	old := s.mustImport(t, newFake("old", gzipLayer(tarOf("f", "old"))), "app")
	used := s.mustImport(t, newFake("used", gzipLayer(tarOf("f", "used"))), "app")
	users[used.ID] = []User{{ID: "c"}}
	s.mustImport(t, newFake("now", gzipLayer(tarOf("f", "now"))), "app")
	report, err := s.Prune(context.Background(), PruneOptions{})
	if err != nil || len(report.Removed) == 0 || report.Freed == 0 {
		t.Fatal(report, err)
	}
	if _, err := s.Resolve(old.ID, ""); err == nil {
		t.Error("the dangling image is still there")
	}
	if _, err := s.Resolve(used.ID, ""); err != nil {
		t.Error("an image in use was pruned")
	}
	report, err = s.Prune(context.Background(), PruneOptions{All: true, Filter: image.Filter{"until": {"2020-01-01"}}})
	if err != nil || len(report.Removed) != 0 {
		t.Error(report, err)
	}
	users = map[string][]User{}
	// What an interrupted import left goes too.
	bad := gzipLayer(tarOf("g", "x"))
	bad.open = func() (io.ReadCloser, error) { return nil, errors.New("network down") }
	if _, err := s.Import(context.Background(), newFake("half", gzipLayer(tarOf("half", "x")), bad), ImportOptions{}); err == nil {
		t.Fatal("imported")
	}
	if _, err := s.Prune(context.Background(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	s.clean(t)
}

func TestMappedAndFlatten(t *testing.T) {
	nstest.NeedIDs(t)
	s := newStore(t, Options{})
	base := tarOf("d/", "", "d/gone", "x", "d/kept", "x", "o/", "", "o/gone", "x", "f", "base")
	top := tarOf("d/.wh.gone", "", "o/", "", "o/.wh..wh..opq", "", "o/new", "x", "f", "top")
	record := s.mustImport(t, newFake("x", gzipLayer(base), gzipLayer(top)), "x")
	ids := []IDRange{{0, 1, 1000}, {1000, 0, 1}}
	mapped, err := s.Mapped(context.Background(), record, ids, ids)
	if err != nil || len(mapped) != 2 {
		t.Fatal(mapped, err)
	}
	if got := owner(t, filepath.Join(mapped[0], "f")); got != 1 {
		t.Errorf("owner %d", got)
	}
	again, err := s.Mapped(context.Background(), record, ids, ids)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(mapped) {
		t.Error(again, err)
	}
	if _, err := s.Mapped(context.Background(), record, []IDRange{{5, 5, 1}}, ids); err == nil {
		t.Error("an owner without a place was accepted")
	}
	flat := t.TempDir()
	if err := s.Flatten(context.Background(), record, flat); err != nil {
		t.Fatal(err)
	}
	var names []string
	filepath.Walk(flat, func(path string, info os.FileInfo, err error) error {
		if !info.IsDir() {
			names = append(names, strings.TrimPrefix(path, flat+"/"))
		}
		return err
	})
	if strings.Join(names, " ") != "d/kept f o/new" {
		t.Error(names)
	}
	if text, _ := os.ReadFile(filepath.Join(flat, "f")); string(text) != "top" {
		t.Errorf("%q", text)
	}
	if _, err := s.Remove("x", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(s.mappedDir()); len(entries) > 0 {
		t.Error(entries)
	}
}

// Two images that share a layer: who holds its lock and does not get on is not waited
// for, and what he brings in the end is no second layer.
func TestImportBesideStuckHolder(t *testing.T) {
	patience := layerPatience
	t.Cleanup(func() { layerPatience = patience })
	layerPatience = 100 * time.Millisecond
	s := newStore(t, Options{Fetched: func(string) int64 { return 7 }})
	data := tarOf("shared", "contents")
	slow, quick := gzipLayer(data), gzipLayer(data)
	started, goOn := make(chan struct{}), make(chan struct{})
	slow.open = func() (io.ReadCloser, error) {
		close(started)
		<-goOn
		return io.NopCloser(bytes.NewReader(slow.data)), nil
	}
	first := make(chan error, 1)
	go func() {
		_, err := s.Import(t.Context(), newFake("a", slow, gzipLayer(tarOf("a", "a"))), ImportOptions{Names: []string{"one"}})
		first <- err
	}()
	<-started
	record := s.mustImport(t, newFake("b", quick, gzipLayer(tarOf("b", "b"))), "two")
	close(goOn)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	again, err := image.Lookup(s.root, "one", "")
	if err != nil || again.Layers[1] != record.Layers[1] {
		t.Errorf("%+v, %v: not the layer of %+v", again, err, record)
	}
	if text, err := os.ReadFile(filepath.Join(record.Layers[1], "shared")); err != nil || string(text) != "contents" {
		t.Errorf("%q, %v", text, err)
	}
}
