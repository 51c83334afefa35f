package archive

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
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bryo/rootfs/image"
)

// item is a file of a test archive; link makes it a symlink.
type item struct{ name, body, link string }

func tarOf(items ...item) []byte {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, i := range items {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: i.name, Mode: 0o644, Size: int64(len(i.body))}
		if i.link != "" {
			header.Typeflag, header.Linkname = tar.TypeSymlink, i.link
		}
		if err := w.WriteHeader(header); err != nil {
			panic(err)
		}
		w.Write([]byte(i.body))
	}
	w.Close()
	return buffer.Bytes()
}

func hexOf(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func packed(data []byte) []byte {
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	w.Write(data)
	w.Close()
	return buffer.Bytes()
}

var layerData = tarOf(item{name: "etc/hosts", body: "127.0.0.1"})

func config(diffIDs ...string) string {
	list := []string{}
	for _, id := range diffIDs {
		list = append(list, `"sha256:`+id+`"`)
	}
	return `{"os":"linux","architecture":"amd64","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[` + strings.Join(list, ",") + `]}}`
}

// docker is an archive as docker wrote it up to version 24, with the second of
// two equal layers as a symlink.
func docker() []item {
	c := config(hexOf(layerData), hexOf(layerData))
	return []item{
		{name: "aaa/layer.tar", body: string(layerData)}, {name: "bbb/layer.tar", link: "../aaa/layer.tar"}, {name: "c.json", body: c},
		{name: "manifest.json", body: `[{"Config":"c.json","RepoTags":["app:1","app:2"],"Layers":["aaa/layer.tar","bbb/layer.tar"]}]`},
	}
}

// layout is an OCI layout with an index of two platforms.
func layout() []item {
	var items []item
	add := func(body string) string {
		digest := hexOf([]byte(body))
		items = append(items, item{name: "blobs/sha256/" + digest, body: body})
		return fmt.Sprintf(`"digest":"sha256:%s","size":%d`, digest, len(body))
	}
	layer := add(string(packed(layerData)))
	var manifests []string
	for _, arch := range []string{"amd64", "arm64"} {
		c := add(strings.Replace(config(hexOf(layerData)), "amd64", arch, 1))
		m := add(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",` + c +
			`},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",` + layer + `}]}`)
		manifests = append(manifests, `{"mediaType":"application/vnd.oci.image.manifest.v1+json",`+m+`,"platform":{"os":"linux","architecture":"`+arch+`"}}`)
	}
	index := add(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(manifests, ",") + `]}`)
	return append(items, item{name: "oci-layout", body: `{"imageLayoutVersion":"1.0.0"}`},
		item{name: "index.json", body: `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",` + index + `,"annotations":{"org.opencontainers.image.ref.name":"example.com/app:1"}}]}`})
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// check reads every layer of an image and compares all digests.
func check(t testing.TB, img *Image, layers int) {
	t.Helper()
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := img.RawConfigFile()
	if err != nil || "sha256:"+hexOf(blob) != manifest.Config.Digest.String() {
		t.Fatalf("configuration: %v", err)
	}
	parsed, err := image.ParseConfig(blob)
	if err != nil || len(parsed.DiffIDs) != layers {
		t.Fatalf("%v %v", parsed, err)
	}
	list, err := img.Layers()
	if err != nil || len(list) != layers {
		t.Fatalf("%d layers, %v", len(list), err)
	}
	for i, layer := range list {
		reader, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(reader)
		reader.Close()
		if err != nil || "sha256:"+hexOf(data) != manifest.Layers[i].Digest.String() || int64(len(data)) != manifest.Layers[i].Size {
			t.Errorf("layer %d: %d bytes, %v", i, len(data), err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, i := range layout() {
		path := filepath.Join(dir, i.name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(i.body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dockerFile, ociFile := writeFile(t, "docker.tar", tarOf(docker()...)), writeFile(t, "oci.tar", tarOf(layout()...))
	tests := map[string]struct {
		place  string
		names  []string
		layers int
	}{
		"docker archive":           {dockerFile, []string{"app:1", "app:2"}, 2},
		"docker archive, named":    {"docker-archive:" + dockerFile + ":app:2", []string{"app:1", "app:2"}, 2},
		"docker archive, numbered": {"docker-archive:" + dockerFile + ":@0", []string{"app:1", "app:2"}, 2},
		"OCI archive":              {ociFile, []string{"example.com/app:1"}, 1},
		"OCI archive, named":       {"oci-archive:" + ociFile + ":1", []string{"example.com/app:1"}, 1},
		"OCI folder":               {"oci:" + dir, []string{"example.com/app:1"}, 1},
		"OCI folder, plain":        {dir, []string{"example.com/app:1"}, 1},
		"gzip":                     {writeFile(t, "x.tar.gz", packed(tarOf(docker()...))), []string{"app:1", "app:2"}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := Open(test.place, Options{TempDir: t.TempDir(), Platform: "linux/amd64"})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if len(a.Images) != 1 || !slices.Equal(a.Images[0].Names, test.names) || !a.Images[0].Local() {
				t.Fatalf("%+v", a.Images)
			}
			check(t, a.Images[0], test.layers)
		})
	}
}

func TestOpenCompressed(t *testing.T) {
	plain := tarOf(docker()...)
	for _, tool := range []string{"gzip", "zstd", "xz", "bzip2"} {
		t.Run(tool, func(t *testing.T) {
			cmd := exec.Command(tool, "-c")
			cmd.Stdin = bytes.NewReader(plain)
			data, err := cmd.Output()
			if errors.Is(err, exec.ErrNotFound) {
				t.Skip("no " + tool)
			}
			temp := t.TempDir()
			a, err := Read(bytes.NewReader(data), Options{TempDir: temp})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			check(t, a.Images[0], 2)
			if entries, _ := os.ReadDir(temp); len(entries) > 0 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

func TestPlatform(t *testing.T) {
	file := writeFile(t, "oci.tar", tarOf(layout()...))
	for platform, arch := range map[string]string{"linux/arm64": "arm64", "linux/arm64/v8": "arm64", "linux/amd64": "amd64"} {
		a, err := Open(file, Options{Platform: platform})
		if err != nil {
			t.Fatal(err)
		}
		blob, _ := a.Images[0].RawConfigFile()
		if parsed, err := image.ParseConfig(blob); err != nil || parsed.Architecture != arch {
			t.Errorf("%s: %v %v", platform, parsed, err)
		}
		a.Close()
	}
	if _, err := Open(file, Options{Platform: "linux/s390x"}); !errors.Is(err, ErrArchive) || !strings.Contains(err.Error(), "linux/s390x") {
		t.Error(err)
	}
}

// replaced changes the body of one file.
func replaced(items []item, name, old, new string) []item {
	for i := range items {
		if items[i].name == name {
			items[i].body = strings.Replace(items[i].body, old, new, 1)
		}
	}
	return items
}

func without(items []item, name string) []item {
	return slices.DeleteFunc(items, func(i item) bool { return i.name == name })
}

func TestOpenRefused(t *testing.T) {
	selfIndex := func() []item {
		// An index cannot hold its own digest, but it can be deep.
		items := without(layout(), "index.json")
		body := `{"schemaVersion":2,"manifests":[]}`
		var reference string
		for range 10 {
			items = append(items, item{name: "blobs/sha256/" + hexOf([]byte(body)), body: body})
			reference = fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:%s","size":%d,"platform":{"os":"linux","architecture":"amd64"}}`, hexOf([]byte(body)), len(body))
			body = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + reference + `]}`
		}
		return append(items, item{name: "index.json", body: body})
	}
	many := `{"schemaVersion":2,"manifests":[` + strings.Repeat(`{"digest":"sha256:x"},`, 10000) + `{}]}`
	tests := map[string]struct {
		data []byte
		want string
	}{
		"empty":                         {nil, "empty"},
		"garbage":                       {bytes.Repeat([]byte("garbage "), 1000), "archive/tar"},
		"no manifest":                   {tarOf(item{name: "x", body: "x"}), "neither manifest.json nor index.json"},
		"cut off":                       {tarOf(docker()...)[:1500], "cut off"},
		"cut off gzip":                  {packed(tarOf(docker()...))[:200], "gzip"},
		"manifest is no JSON":           {tarOf(replaced(docker(), "manifest.json", "[", "")...), "manifest.json"},
		"no image in manifest":          {tarOf(item{name: "manifest.json", body: "[]"}), "0 images"},
		"configuration missing":         {tarOf(without(docker(), "c.json")...), "missing"},
		"layer missing":                 {tarOf(without(docker(), "aaa/layer.tar")...), "missing"},
		"layer outside":                 {tarOf(replaced(docker(), "manifest.json", "aaa/layer.tar", "../../etc/passwd")...), "leads out of it"},
		"layer absolute":                {tarOf(replaced(docker(), "manifest.json", "aaa/layer.tar", "/etc/passwd")...), "leads out of it"},
		"entry outside":                 {tarOf(append(docker(), item{name: "../x", body: "x"})...), "leads out of it"},
		"symlink outside":               {tarOf(append(docker(), item{name: "y", link: "../../etc/passwd"})...), "leads out of it"},
		"symlink absolute":              {tarOf(append(without(docker(), "bbb/layer.tar"), item{name: "bbb/layer.tar", link: "/etc/passwd"})...), "missing|leads out"},
		"symlink ring":                  {tarOf(append(without(docker(), "bbb/layer.tar"), item{name: "bbb/layer.tar", link: "layer.tar"})...), "links without end"},
		"layer count (A18)":             {tarOf(replaced(docker(), "manifest.json", `,"bbb/layer.tar"`, "")...), "1 layers, the configuration 2"},
		"bad environment (A27)":         {tarOf(replaced(docker(), "c.json", `"Cmd"`, `"Env":["X"],"Cmd"`)...), "KEY=VALUE"},
		"large manifest (A30)":          {tarOf(item{name: "manifest.json", body: strings.Repeat("[", 5<<20)}), "the limit is"},
		"index is manifest too (A31)":   {tarOf(replaced(layout(), "index.json", `"manifests"`, `"layers":[],"manifests"`)...), "at once"},
		"other media type (A31)":        {tarOf(replaced(layout(), "index.json", "image.index.v1", "image.manifest.v1")...), "the index says"},
		"digest is a path (A32)":        {tarOf(item{name: "index.json", body: `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc/passwd"}]}`}), "no sha256 digest"},
		"deep index (A33)":              {tarOf(selfIndex()...), "deep"},
		"index of 10^4 (A33)":           {tarOf(item{name: "index.json", body: many}), "the limit is 1000"},
		"empty index":                   {tarOf(item{name: "index.json", body: `{"schemaVersion":2}`}), "lists no image"},
		"blob is not what it says":      {tarOf(replaced(layout(), layout()[1].name, "sh", "SH")...), "has digest"},
		"schema version":                {tarOf(item{name: "index.json", body: `{"schemaVersion":1}`}), "schema version"},
		"layer of the OCI layout":       {tarOf(without(layout(), layout()[0].name)...), "missing"},
		"too large when uncompressed":   {packed(make([]byte, 4<<20)), "more than"},
		"manifest of another's content": {tarOf(item{name: "manifest.json", body: `[{"Config":""}]`}), "missing|leads"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			a, err := Read(bytes.NewReader(test.data), Options{TempDir: temp, Platform: "linux/amd64", MaxBytes: 8 << 20})
			if name == "too large when uncompressed" {
				a, err = Read(bytes.NewReader(test.data), Options{TempDir: temp, MaxBytes: 1 << 20})
			}
			if err == nil {
				a.Close()
				t.Fatal("accepted")
			}
			if !slices.ContainsFunc(strings.Split(test.want, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want %s", err, test.want)
			}
			if entries, _ := os.ReadDir(temp); len(entries) > 0 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

// A layout folder from elsewhere may have symlinks and FIFOs for blobs.
func TestFolderContained(t *testing.T) {
	dir := t.TempDir()
	secret := writeFile(t, "secret", []byte(`{"schemaVersion":2}`))
	for name, make := range map[string]func(string) error{
		"symlink": func(path string) error { return os.Symlink(secret, path) },
		"fifo":    func(path string) error { return exec.Command("mkfifo", path).Run() },
		"folder":  func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		path := filepath.Join(dir, "index.json")
		os.Remove(path)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || strings.Contains(err.Error(), "lists no image") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSave(t *testing.T) {
	source, err := Read(bytes.NewReader(tarOf(docker()...)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var first, second bytes.Buffer
	images := []SaveImage{{source.Images[0], []string{"app:1", "docker.io/library/app:2"}}, {source.Images[0], nil}}
	if err := Save(context.Background(), &first, images); err != nil {
		t.Fatal(err)
	}
	if err := Save(context.Background(), &second, images); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two saves differ", err)
	}
	back, err := Read(bytes.NewReader(first.Bytes()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if len(back.Images) != 2 || !slices.Equal(back.Images[0].Names, []string{"app:1", "app:2"}) {
		t.Errorf("%+v", back.Images)
	}
	check(t, back.Images[0], 2)
	// The same archive read as an OCI layout.
	file, err := openTar(mustFile(t, first.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	delete(file.entries, "manifest.json")
	oci, err := readImages(file, "")
	if err != nil || len(oci) != 3 || oci[1].Names[0] != "docker.io/library/app:2" {
		t.Fatalf("%v %v", oci, err)
	}
	check(t, oci[0], 2)
	if strings.Count(first.String(), "layer.tar") != 0 || bytes.Count(first.Bytes(), layerData[:100]) != 1 {
		t.Error("equal layers are written twice")
	}
}

func mustFile(t testing.TB, data []byte) *os.File {
	file, err := os.Open(writeFile(t, "a", data))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestImport(t *testing.T) {
	for name, data := range map[string][]byte{"plain": layerData, "gzip": packed(layerData)} {
		img, err := Import(bytes.NewReader(data), ImportOptions{
			Changes: []string{`CMD ["/bin/sh"]`, "ENV A=b"}, Message: "by hand", Platform: "linux/arm64/v8", TempDir: t.TempDir(),
		})
		if err != nil {
			t.Fatal(name, err)
		}
		check(t, img, 1)
		blob, _ := img.RawConfigFile()
		parsed, err := image.ParseConfig(blob)
		if err != nil || parsed.Platform() != "linux/arm64" || parsed.Cmd[0] != "/bin/sh" || parsed.Env[0] != "A=b" ||
			parsed.DiffIDs[0] != "sha256:"+hexOf(layerData) || parsed.History[0].Comment != "by hand" {
			t.Errorf("%+v %v", parsed, err)
		}
		img.Close()
	}
	for _, bad := range []ImportOptions{{Platform: "nonsense"}, {Platform: "a/b/c/d"}, {Platform: "linux/"}, {Changes: []string{"RUN x"}}} {
		if _, err := Import(bytes.NewReader(layerData), bad); err == nil {
			t.Errorf("%+v: accepted", bad)
		}
	}
}

func TestHello(t *testing.T) {
	exe := writeFile(t, "exe", []byte("program"))
	one, err := Hello(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	check(t, one, 1)
	check(t, one, 1) // a second time
	two, err := Hello(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	a, _ := one.RawManifest()
	b, _ := two.RawManifest()
	if !bytes.Equal(a, b) {
		t.Error("two images of one program differ")
	}
	var m struct{ Config struct{ Cmd []string } }
	blob, _ := one.RawConfigFile()
	if json.Unmarshal(blob, &m); !slices.Equal(m.Config.Cmd, []string{"/bryo", "hello"}) {
		t.Error(m)
	}
	if _, err := Hello(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("made from nothing")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(tarOf(docker()...))
	f.Add(tarOf(layout()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Read(bytes.NewReader(data), Options{TempDir: t.TempDir(), MaxBytes: 1 << 20})
		if err != nil {
			return
		}
		for _, img := range a.Images {
			img.Layers()
		}
		a.Close()
	})
}
