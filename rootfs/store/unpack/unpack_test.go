package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootfs/store/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// item is an entry of a test archive.
type item struct {
	tar.Header
	body string
}

func file(name, body string) item {
	return item{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)), ModTime: time.Unix(1e9, 5)}, body}
}
func dir(name string) item {
	return item{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(1e9, 0)}, ""}
}
func symlink(name, target string) item {
	return item{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}
func hardlink(name, target string) item {
	return item{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: time.Unix(1e9, 0)}, ""}
}
func special(kind byte, name string) item {
	return item{tar.Header{Typeflag: kind, Name: name, Mode: 0o666, Devmajor: 1, Devminor: 3}, ""}
}

func archive(t testing.TB, items ...item) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, i := range items {
		if err := w.WriteHeader(&i.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// bench is a directory to unpack into, beside a canary that must not change.
type bench struct {
	t           testing.TB
	base, layer string
}

func newBench(t testing.TB) *bench {
	nstest.Need(t)
	b := &bench{t: t, base: t.TempDir()}
	b.layer = filepath.Join(b.base, "layer")
	for _, dir := range []string{"layer", "outside"} {
		if err := os.Mkdir(filepath.Join(b.base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(b.canary(), []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) canary() string { return filepath.Join(b.base, "outside", "canary") }

// options are those of the namespace that the test runs in.
func options(t testing.TB) Options {
	uids, gids, err := OwnIDs()
	if err != nil {
		t.Fatal(err)
	}
	return Options{SingleUID: nstest.Single(), UIDs: uids, GIDs: gids}
}

func (b *bench) unpack(data []byte) (*Result, error) {
	return Unpack(context.Background(), bytes.NewReader(data), b.layer, options(b.t))
}

// intact fails the test unless everything outside of the layer is as it was.
func (b *bench) intact() {
	b.t.Helper()
	info, err := os.Lstat(b.canary())
	if err != nil || info.Mode() != 0o600 {
		b.t.Fatalf("canary: %v %v", info, err)
	}
	text, err := os.ReadFile(b.canary())
	if err != nil || string(text) != "canary" {
		b.t.Fatalf("canary: %q %v", text, err)
	}
	for _, dir := range []string{"", "outside"} {
		entries, err := os.ReadDir(filepath.Join(b.base, dir))
		if err != nil {
			b.t.Fatal(err)
		}
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		if want := map[string]string{"": "layer outside", "outside": "canary"}[dir]; strings.Join(names, " ") != want {
			b.t.Fatalf("%q holds %v", dir, names)
		}
	}
	if info, err := os.Lstat(b.layer); err != nil || !info.IsDir() {
		b.t.Fatalf("layer directory: %v %v", info, err)
	}
}

func TestUnpack(t *testing.T) {
	b := newBench(t)
	exe := file("usr/bin/su", "program")
	exe.Mode = 0o4755
	attributed := file("etc/attributed", "x")
	attributed.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.user.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y"}
	fifo := special(tar.TypeFifo, "run/fifo")
	root := dir("./")
	root.Mode = 0o711
	result, err := b.unpack(archive(t, root, dir("usr"), dir("usr/bin"), exe, symlink("bin", "usr/bin"), file("etc/hosts", "127.0.0.1"),
		hardlink("etc/hosts2", "etc/hosts"), attributed, fifo, special(tar.TypeChar, "dev/null"), file("bin/through", "a link")))
	if err != nil {
		t.Fatal(err)
	}
	b.intact()
	if result.Entries != 13 { // two directories are not in the archive
		t.Errorf("%d entries", result.Entries)
	}
	if result.RootMode == nil || *result.RootMode != 0o711 {
		t.Errorf("root mode %v", result.RootMode)
	}
	if !result.Replayable {
		t.Error("not replayable")
	}
	wantMode := func(name string, mode os.FileMode) {
		t.Helper()
		info, err := os.Lstat(filepath.Join(b.layer, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", name, info, err, mode)
		}
	}
	wantMode("", os.ModeDir|0o711)
	wantMode("usr/bin/su", os.ModeSetuid|0o755)
	wantMode("run/fifo", os.ModeNamedPipe|0o666)
	wantMode("usr/bin/through", 0o644)
	wantMode("etc", os.ModeDir|0o755)
	if _, err := os.Lstat(filepath.Join(b.layer, "dev/null")); err == nil {
		t.Error("a device was made")
	}
	if info, _ := os.Stat(filepath.Join(b.layer, "usr")); !info.ModTime().Equal(time.Unix(1e9, 0)) {
		t.Errorf("directory's time %v", info.ModTime())
	}
	if info, _ := os.Stat(filepath.Join(b.layer, "etc/hosts")); !info.ModTime().Equal(time.Unix(1e9, 0)) { // ustar has seconds
		t.Errorf("file's time %v", info.ModTime())
	}
	list := make([]byte, 1000)
	n, err := unix.Listxattr(filepath.Join(b.layer, "etc/attributed"), list)
	if got := string(list[:max(n, 0)]); err == nil && got != "user.note\x00" {
		t.Errorf("attributes %q", got)
	}
	var one, two unix.Stat_t
	unix.Stat(filepath.Join(b.layer, "etc/hosts"), &one)
	unix.Stat(filepath.Join(b.layer, "etc/hosts2"), &two)
	if one.Ino != two.Ino {
		t.Error("hard link is a copy")
	}
}

// Cases A01-A15 that one entry or two make. An empty refusal means: contained.
func TestHostile(t *testing.T) {
	long := strings.Repeat("a/", 2500) + "f"
	big := file("big", "")
	owner := func(uid, gid int) item {
		f := file("owned", "x")
		f.Uid, f.Gid = uid, gid
		return f
	}
	tests := map[string]struct {
		items   []item
		refusal string
	}{
		"A01 parent":                    {[]item{file("../x", "x")}, "leaves the layer"},
		"A01 parent inside":             {[]item{file("a/../../x", "x")}, "leaves the layer"},
		"A01 parent to canary":          {[]item{file("../outside/canary", "x")}, "leaves the layer"},
		"A01 absolute":                  {[]item{file("/abs", "x")}, ""},
		"A01 dot":                       {[]item{file(".", "x")}, "root of a layer"},
		"A02 symlink and file":          {[]item{symlink("d", "CANARYDIR"), file("d/canary", "x")}, "leads nowhere"},
		"A02 symlink, target inside":    {[]item{dir("t"), symlink("d", "/t"), file("d/x", "x")}, ""},
		"A02 relative symlink":          {[]item{symlink("d", "../outside"), file("d/canary", "x")}, "leads nowhere"},
		"A02 deep relative symlink":     {[]item{dir("a"), symlink("a/d", "../../outside"), file("a/d/canary", "x")}, "leads nowhere"},
		"A02 symlink as file":           {[]item{symlink("f", "CANARYDIR/canary"), file("f", "x")}, ""},
		"A02 symlink then directory":    {[]item{symlink("d", "CANARYDIR"), dir("d"), file("d/canary", "x")}, ""},
		"A02 symlink ring":              {[]item{symlink("a", "b"), symlink("b", "a"), file("a/x", "x")}, "symlinks without end"},
		"A02 magic link":                {[]item{symlink("d", "/proc/self/cwd"), file("d/x", "x")}, "leads nowhere"},
		"A04 hard link up":              {[]item{hardlink("l", "../outside/canary")}, "not a file of this layer"},
		"A04 hard link absolute":        {[]item{hardlink("l", "CANARYDIR/canary")}, "not a file of this layer"},
		"A04 hard link through symlink": {[]item{symlink("d", "CANARYDIR"), hardlink("l", "d/canary")}, "through a symlink"},
		"A04 hard link through own symlink": {[]item{dir("t"), file("t/f", "x"), symlink("d", "t"), hardlink("l", "d/f")},
			"through a symlink"},
		"A04 hard link to symlink, then write": {[]item{symlink("s", "CANARYDIR/canary"), hardlink("l", "s"), file("l", "x")}, ""},
		"A04 hard link to directory":           {[]item{dir("d"), hardlink("l", "d")}, "not a file|operation not permitted|is a directory"},
		"A04 hard link to root":                {[]item{hardlink("l", "/")}, "not a file of this layer"},
		"A04 hard link to itself":              {[]item{file("f", "x"), hardlink("f", "f")}, ""},
		"A06 root as symlink":                  {[]item{symlink("./", "CANARYDIR"), file("canary", "x")}, "root of a layer"},
		"A06 root as hard link":                {[]item{file("f", "x"), hardlink(".", "f")}, "root of a layer"},
		"A07 whiteout of nothing":              {[]item{file(".wh.", "")}, "whiteout of no file"},
		"A07 whiteout of parent":               {[]item{file("d/.wh...", "")}, "whiteout of no file"},
		"A07 whiteout of self":                 {[]item{file("d/.wh..", "")}, "whiteout of no file"},
		"A07 whiteout through symlink":         {[]item{symlink("d", "CANARYDIR"), file("d/.wh.canary", "")}, "leads nowhere"},
		"A07 opaque through symlink":           {[]item{symlink("d", "CANARYDIR"), file("d/.wh..wh..opq", "")}, "leads nowhere"},
		"A07 opaque root":                      {[]item{file(".wh..wh..opq", "")}, ""},
		"A07 whiteout of a path":               {[]item{file(".wh.../outside/canary", "")}, ""},
		"A10 devices":                          {[]item{special(tar.TypeBlock, "sda"), special(tar.TypeChar, "null")}, ""},
		"A10 FIFO, then write":                 {[]item{special(tar.TypeFifo, "f"), file("f", "x")}, ""},
		"A10 link to FIFO, then write":         {[]item{special(tar.TypeFifo, "f"), symlink("g", "f"), file("g/x", "x")}, "a file stands there"},
		"A14 uid 2^31":                         {[]item{owner(1<<31, 0)}, "uid 2147483648 does not exist"},
		"A14 uid 2^32-1":                       {[]item{owner(1<<32-1, 0)}, "uid 4294967295 does not exist"},
		"A14 gid 2^32-1":                       {[]item{owner(0, 1<<32-1)}, "gid 4294967295 does not exist"},
		"A14 uid 2^32":                         {[]item{owner(1<<32, 0)}, "uid 4294967296 does not exist"},
		"A14 negative uid":                     {[]item{owner(-1, 0)}, "uid -1 does not exist"},
		"A14 outside the map":                  {[]item{owner(70000, 0)}, "uid 70000 does not exist"},
		"A15 long path":                        {[]item{file(long, "x")}, "a name of"},
		"A15 long component":                   {[]item{file(strings.Repeat("n", 300), "x")}, "name too long"},
		"file in the way":                      {[]item{file("f", "x"), file("f/x", "x")}, "a file stands there"},
		"directory replaced by file":           {[]item{dir("d"), file("d/x", "x"), file("d", "x")}, ""},
		"symlink without target":               {[]item{symlink("s", "")}, "without a target"},
		"unknown type":                         {[]item{special('Z', "z")}, "unknown"},
		"no entries":                           {nil, ""},
		"empty file":                           {[]item{big}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if strings.HasPrefix(name, "A14") && nstest.Single() {
				t.Skip("owners are squashed where one id is mapped")
			}
			for i := range test.items {
				test.items[i].Linkname = strings.ReplaceAll(test.items[i].Linkname, "CANARYDIR", filepath.Join(b.base, "outside"))
			}
			_, err := b.unpack(archive(t, test.items...))
			b.intact()
			if test.refusal == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			if !slices.ContainsFunc(strings.Split(test.refusal, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) {
				t.Errorf("%v; want %s", err, test.refusal)
			}
		})
	}
}

// An empty name cannot be written by the tar package.
// The entry of a second name says the file's attributes as well, as with other
// engines: builders that copy a tree write the same ones.
func TestLinkAttributes(t *testing.T) {
	b := newBench(t)
	link := hardlink("second", "first")
	link.Mode, link.ModTime, link.Format = 0o4711, time.Unix(2e9, 5), tar.FormatPAX
	link.PAXRecords = map[string]string{"SCHILY.xattr.user.of": "the link"}
	if _, err := b.unpack(archive(t, file("first", "x"), link, symlink("one", "first"), hardlink("two", "one"))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(filepath.Join(b.layer, "first"))
	if err != nil || info.Mode() != 0o711|os.ModeSetuid || !info.ModTime().Equal(time.Unix(2e9, 5)) {
		t.Error(info.Mode(), info.ModTime(), err)
	}
	value := make([]byte, 20)
	if n, err := unix.Lgetxattr(filepath.Join(b.layer, "first"), "user.of", value); err != nil || string(value[:n]) != "the link" {
		t.Errorf("%q %v", value, err)
	}
	if info, err := os.Lstat(filepath.Join(b.layer, "two")); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Error(info, err)
	}
}

func TestEmptyName(t *testing.T) {
	b := newBench(t)
	data := archive(t, file("x", "x"))
	data[0] = 0
	sum := 0
	copy(data[148:156], "        ")
	for _, c := range data[:512] {
		sum += int(c)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", sum))
	if _, err := b.unpack(data); err == nil || !strings.Contains(err.Error(), "without a name") {
		t.Errorf("error %v", err)
	}
	b.intact()
}

func TestWhiteouts(t *testing.T) {
	b := newBench(t)
	_, err := b.unpack(archive(t, dir("d"), file("d/.wh.gone", ""), dir("o"), file("o/.wh..wh..opq", ""), file(".wh..wh.plnk", ""),
		file(".wh.both", ""), dir("both"), dir("first"), file(".wh.first", "")))
	if err != nil {
		t.Fatal(err)
	}
	b.intact()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(b.layer, "d/gone"), &st); err != nil || !isWhiteout(&st) {
		t.Errorf("whiteout: %o %v", st.Mode, err)
	}
	for _, name := range []string{"o", "both", "first"} {
		value := make([]byte, 8)
		n, err := unix.Getxattr(filepath.Join(b.layer, name), opaqueXattr, value)
		if err != nil || string(value[:n]) != "y" {
			t.Errorf("%s is not opaque: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(b.layer); len(entries) != 4 {
		t.Errorf("%v", entries)
	}
}

func TestWhiteoutFiles(t *testing.T) {
	b := newBench(t)
	o := options(t)
	o.Whiteouts = Files
	data := archive(t, dir("d"), file("d/.wh.gone", ""), dir("o"), file("o/.wh..wh..opq", ""))
	if _, err := Unpack(context.Background(), bytes.NewReader(data), b.layer, o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d/.wh.gone", "o/.wh..wh..opq"} {
		if info, err := os.Lstat(filepath.Join(b.layer, name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}

func TestOwners(t *testing.T) {
	nstest.NeedIDs(t)
	b := newBench(t)
	owned := file("owned", "x")
	owned.Uid, owned.Gid, owned.Mode = 1000, 50, 0o6755
	link := symlink("link", "owned")
	link.Uid, link.Gid = 7, 8
	result, err := b.unpack(archive(t, owned, link))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(result.UIDs, []uint32{7, 1000}) || !slices.Equal(result.GIDs, []uint32{8, 50}) {
		t.Errorf("ids %v %v", result.UIDs, result.GIDs)
	}
	var st unix.Stat_t
	unix.Lstat(filepath.Join(b.layer, "owned"), &st)
	if st.Uid != 1000 || st.Gid != 50 || st.Mode != unix.S_IFREG|0o6755 {
		t.Errorf("%d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	unix.Lstat(filepath.Join(b.layer, "link"), &st)
	if st.Uid != 7 || st.Gid != 8 {
		t.Errorf("link %d:%d", st.Uid, st.Gid)
	}
}

func TestSquash(t *testing.T) {
	b := newBench(t)
	owned := file("owned", "x")
	owned.Uid, owned.Gid = 1<<31, 77777
	o := options(t)
	o.SingleUID = true
	if _, err := Unpack(context.Background(), bytes.NewReader(archive(t, owned)), b.layer, o); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(b.layer, "owned")); err != nil {
		t.Error(info, err)
	}
}

func TestLimits(t *testing.T) {
	many := make([]item, 100)
	for i := range many {
		many[i] = file(fmt.Sprintf("f%d", i), "")
	}
	attributed := file("f", "")
	attributed.PAXRecords = map[string]string{}
	for i := range 40 {
		attributed.PAXRecords[fmt.Sprintf("SCHILY.xattr.user.n%d", i)] = "v"
	}
	tests := map[string]struct {
		limits Limits
		items  []item
	}{
		"A16 files":       {Limits{Entries: 99}, many},
		"A16 parents":     {Limits{Entries: 9}, []item{file("a/b/c/d/e/f/g/h/i/j/k", "")}},
		"A16 bytes":       {Limits{Bytes: 1000}, []item{file("f", strings.Repeat("x", 600)), file("g", strings.Repeat("x", 600))}},
		"A13 of one file": {Limits{FileXattrs: 39}, []item{attributed}},
		"A13 of all":      {Limits{Xattrs: 79}, []item{attributed, attributed}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			o := options(t)
			o.Limits = test.limits
			_, err := Unpack(context.Background(), bytes.NewReader(archive(t, test.items...)), b.layer, o)
			if !errors.Is(err, ErrLimit) {
				t.Errorf("error %v", err)
			}
			b.intact()
		})
	}
}

// A16: what expands too well is stopped long before the disk is full.
func TestRatio(t *testing.T) {
	b := newBench(t)
	o := options(t)
	o.Limits = Limits{RatioFrom: 1 << 20}
	o.Compressed = func() int64 { return 1000 }
	header := archive(t, file("zeros", ""))[:512]
	header = withSize(header, 1<<30)
	stream := io.MultiReader(bytes.NewReader(header), zeros{})
	_, err := Unpack(context.Background(), stream, b.layer, o)
	if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "expand") {
		t.Errorf("error %v", err)
	}
	if info, err := os.Stat(filepath.Join(b.layer, "zeros")); err != nil || info.Size() > 2<<20 {
		t.Errorf("%v %v", info, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// withSize puts a size into a header block, base-256 as GNU tar writes large ones.
func withSize(header []byte, size uint64) []byte {
	header = bytes.Clone(header)
	for i := range 12 {
		header[124+11-i] = byte(size >> min(8*i, 63))
		if i >= 8 {
			header[124+11-i] = 0
		}
	}
	header[124] |= 0x80
	sum := 0
	copy(header[148:156], "        ")
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return header
}

// A15: a header that claims 8 EiB costs nothing.
func TestHugeSize(t *testing.T) {
	b := newBench(t)
	header := withSize(archive(t, file("huge", ""))[:512], math.MaxInt64)
	_, err := b.unpack(append(header, make([]byte, 4096)...))
	if !errors.Is(err, ErrLimit) {
		t.Errorf("error %v", err)
	}
	// The tar package writes no sparse files, so another prefix becomes the right one.
	sparse := file("pax", "1\n9223372036854775807\n0\n"+strings.Repeat("\x00", 512-24))
	sparse.PAXRecords = map[string]string{"ABC.sparse.major": "1", "ABC.sparse.minor": "0", "ABC.sparse.name": "sparse", "ABC.sparse.realsize": "9223372036854775807"}
	data := bytes.ReplaceAll(archive(t, sparse), []byte("ABC.sparse"), []byte("GNU.sparse"))
	if _, err := newBench(t).unpack(data); !errors.Is(err, ErrLimit) {
		t.Errorf("sparse: error %v", err)
	}
}

// A sparse file comes out with its holes as zeros, and its archive again as it was.
func TestSparse(t *testing.T) {
	b := newBench(t)
	sparse := file("pax", "1\n1000\n4\n"+strings.Repeat("\x00", 512-9)+"data")
	sparse.PAXRecords = map[string]string{"ABC.sparse.major": "1", "ABC.sparse.minor": "0", "ABC.sparse.name": "sparse", "ABC.sparse.realsize": "2000"}
	data := bytes.ReplaceAll(archive(t, sparse), []byte("ABC.sparse"), []byte("GNU.sparse"))
	var notes, again bytes.Buffer
	o := options(t)
	o.TarSplit = &notes
	if _, err := Unpack(context.Background(), bytes.NewReader(data), b.layer, o); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("\x00", 1000) + "data" + strings.Repeat("\x00", 996)
	if text, err := os.ReadFile(filepath.Join(b.layer, "sparse")); err != nil || string(text) != want {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if err := Replay(&notes, b.layer, &again); err != nil || !bytes.Equal(again.Bytes(), data) {
		t.Errorf("replay: %d bytes, %v", again.Len(), err)
	}
}

// A17: whatever is cut off is an error, and nothing blocks.
func TestTruncated(t *testing.T) {
	whole := archive(t, dir("d"), file("d/f", strings.Repeat("contents ", 300)))
	for _, length := range []int{1, 100, 511, 513, 600, 1030, 1536, 2000} {
		b := newBench(t)
		_, err := b.unpack(whole[:length])
		if err == nil {
			t.Errorf("%d bytes of %d: accepted", length, len(whole))
		}
		b.intact()
	}
}

func TestTrailing(t *testing.T) {
	b := newBench(t)
	stream := io.MultiReader(bytes.NewReader(archive(t, dir("d"))), zeros{})
	if _, err := Unpack(context.Background(), stream, b.layer, options(t)); !errors.Is(err, ErrLimit) {
		t.Errorf("error %v", err)
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Unpack(ctx, bytes.NewReader(archive(t, dir("d"))), b.layer, options(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Replay gives back the very bytes, in whatever dialect the archive was written.
func TestReplay(t *testing.T) {
	long := file(strings.Repeat("directory/", 20)+"file", strings.Repeat("x", 700))
	raw := file("latin-\xe9", "name that is no UTF-8")
	raw.Format = tar.FormatGNU
	pax := file("pax", "pax")
	pax.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b"}
	tests := map[string][]byte{
		"plain":        archive(t, dir("d"), file("d/f", "contents"), file("empty", ""), symlink("s", "d/f"), hardlink("h", "d/f")),
		"dialects":     archive(t, long, raw, pax),
		"whiteouts":    archive(t, file("d/.wh.x", ""), file("o/.wh..wh..opq", "")),
		"devices":      archive(t, special(tar.TypeChar, "null"), special(tar.TypeFifo, "fifo")),
		"padding":      append(archive(t, file("f", "x")), make([]byte, 9000)...),
		"no end":       archive(t, file("f", "x"))[:1024],
		"through link": archive(t, dir("t"), symlink("l", "t"), file("l/f", "contents")),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			var notes, again bytes.Buffer
			o := options(t)
			o.TarSplit = &notes
			result, err := Unpack(context.Background(), bytes.NewReader(data), b.layer, o)
			if err != nil || !result.Replayable {
				t.Fatal(result, err)
			}
			if err := Replay(bytes.NewReader(notes.Bytes()), b.layer, &again); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Bytes(), data) {
				t.Errorf("%d bytes, want %d", again.Len(), len(data))
			}
		})
	}
}

// A layer that overwrites its own file cannot be replayed, and says so.
func TestReplayOverwritten(t *testing.T) {
	b := newBench(t)
	result, err := b.unpack(archive(t, file("f", "first"), file("f", "second")))
	if err != nil || result.Replayable {
		t.Error(result, err)
	}
	if text, _ := os.ReadFile(filepath.Join(b.layer, "f")); string(text) != "second" {
		t.Errorf("%q", text)
	}
}

// Replay reads files inside the layer only, and no FIFO, whatever the notes say.
func TestReplayContained(t *testing.T) {
	b := newBench(t)
	if err := os.Symlink(b.canary(), filepath.Join(b.layer, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(b.base, "outside"), filepath.Join(b.layer, "dir")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(b.layer, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "dir/canary", "../outside/canary", "fifo", "/fifo"} {
		var out bytes.Buffer
		notes := fmt.Sprintf(`{"type":1,"name":%q,"size":6,"payload":"AAAAAAAAAAA="}`, name)
		if err := Replay(strings.NewReader(notes), b.layer, &out); err == nil || strings.Contains(out.String(), "canary") {
			t.Errorf("%s: error %v, output %q", name, err, out.String())
		}
	}
}

// A09: several layers at once, each flipping a directory into a symlink.
func TestParallelFlips(t *testing.T) {
	b := newBench(t)
	var items []item
	for range 200 {
		items = append(items, dir("d"), file("d/canary", "x"), symlink("d", filepath.Join(b.base, "outside")), file("d2/x", "x"))
	}
	data := archive(t, items...)
	done := make(chan error)
	o := options(t)
	for i := range 4 {
		go func() {
			dir := filepath.Join(b.base, "outside", fmt.Sprint(i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				done <- err
				return
			}
			_, err := Unpack(context.Background(), bytes.NewReader(data), dir, o)
			done <- errors.Join(err, os.RemoveAll(dir))
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	b.intact()
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, dir("d"), file("d/f", "contents"), symlink("s", "d/f"), hardlink("h", "d/f"), file("d/.wh.x", "")))
	f.Add(archive(f, symlink("d", "/"), file("d/etc/passwd", "x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBench(t)
		o := options(t)
		o.Limits = Limits{Entries: 1000, Bytes: 1 << 20}
		var notes bytes.Buffer
		o.TarSplit = &notes
		result, err := Unpack(context.Background(), bytes.NewReader(data), b.layer, o)
		b.intact()
		if err == nil && result.Replayable {
			var again bytes.Buffer
			if err := Replay(&notes, b.layer, &again); err != nil || !bytes.Equal(again.Bytes(), data) {
				t.Errorf("replay: %d bytes of %d, error %v", again.Len(), len(data), err)
			}
		}
	})
}
