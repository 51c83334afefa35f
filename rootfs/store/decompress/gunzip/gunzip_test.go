package gunzip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// samples are contents of many kinds, some larger than all buffers together.
func samples() map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 700<<10)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	skewed := make([]byte, 900<<10) // long codes for rare bytes
	for i := range skewed {
		skewed[i] = byte(min(255, random.ExpFloat64()*12))
	}
	var mixed bytes.Buffer
	for mixed.Len() < 1200<<10 {
		mixed.WriteString(strings.Repeat("ab", random.IntN(200)))
		mixed.Write(noise[:random.IntN(400)])
		at := random.IntN(mixed.Len() + 1)
		mixed.Write(mixed.Bytes()[at:min(at+random.IntN(3000), mixed.Len())])
	}
	return map[string][]byte{
		"empty": nil, "byte": {7}, "text": []byte(strings.Repeat("a layer of an image\n", 40000)),
		"zeros": make([]byte, 1<<20), "noise": noise, "skewed": skewed, "mixed": mixed.Bytes(),
	}
}

func pack(t testing.TB, plain []byte, level int) []byte {
	var buffer bytes.Buffer
	w, err := gzip.NewWriterLevel(&buffer, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	w.Write(plain)
	w.Close()
	return buffer.Bytes()
}

func unpack(source io.Reader) ([]byte, error) {
	r, err := NewReader(source)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestReader(t *testing.T) {
	for name, plain := range samples() {
		for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
			packed := pack(t, plain, level)
			for how, source := range map[string]io.Reader{
				"whole": bytes.NewReader(packed), "bytes": iotest.OneByteReader(bytes.NewReader(packed)),
				"data and end at once": iotest.DataErrReader(bytes.NewReader(packed)),
			} {
				if got, err := unpack(source); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%s, level %d, %s: %d bytes of %d, %v", name, level, how, len(got), len(plain), err)
				}
			}
		}
	}
}

// Members follow each other, as parallel compressors write them.
func TestMembers(t *testing.T) {
	var packed, plain []byte
	for _, sample := range samples() {
		packed, plain = append(packed, pack(t, sample, 6)...), append(plain, sample...)
	}
	if got, err := unpack(bytes.NewReader(packed)); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes of %d, %v", len(got), len(plain), err)
	}
	if _, err := unpack(bytes.NewReader(append(packed, "what follows"...))); !errors.Is(err, ErrHeader) {
		t.Errorf("trailing garbage: %v", err)
	}
}

// A member may not refer to the contents of the one before.
func TestBehindMember(t *testing.T) {
	first := pack(t, []byte("abcdefghijklmnop"), 6)
	var buffer bytes.Buffer
	w, _ := flate.NewWriterDict(&buffer, 9, []byte("abcdefghijklmnop"))
	w.Write([]byte("abcdefghijklmnop"))
	w.Close()
	second := append(append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, buffer.Bytes()...), first[len(first)-8:]...)
	if _, err := unpack(bytes.NewReader(append(first, second...))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

func TestTruncated(t *testing.T) {
	packed := pack(t, samples()["mixed"][:40000], 6)
	for n := range len(packed) {
		if _, err := unpack(bytes.NewReader(packed[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d of %d bytes: %v", n, len(packed), err)
		}
	}
	broken := errors.New("connection reset")
	if _, err := unpack(io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// Whatever is changed in a stream: the same verdict and the same bytes as the
// standard library.
func TestChanged(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, level := range []int{flate.HuffmanOnly, 0, 1, 6} {
		packed := pack(t, samples()["mixed"][:20000], level)
		for range 3000 {
			changed := bytes.Clone(packed)
			for range 1 + random.IntN(3) {
				changed[random.IntN(len(changed))] ^= 1 << random.IntN(8)
			}
			same(t, changed)
		}
	}
}

// same compares with the standard library. Headers are not of interest to it.
func same(t *testing.T, packed []byte) {
	t.Helper()
	var want []byte
	r, wantErr := gzip.NewReader(bytes.NewReader(packed))
	if wantErr == nil {
		want, wantErr = io.ReadAll(io.LimitReader(r, 8<<20))
	}
	var got []byte
	own, err := NewReader(bytes.NewReader(packed))
	if err == nil {
		got, err = io.ReadAll(io.LimitReader(own, 8<<20))
	}
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v; the standard library %d, %v:\n%x", len(got), err, len(want), wantErr, packed[:min(len(packed), 400)])
	}
}

func FuzzReader(f *testing.F) {
	for name, plain := range samples() {
		f.Add(pack(f, plain[:min(len(plain), 3000)], 1+len(name)%9))
	}
	f.Fuzz(func(t *testing.T, packed []byte) { same(t, packed) })
}

func BenchmarkReader(b *testing.B) {
	for name, open := range map[string]func(io.Reader) (io.Reader, error){
		"standard": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"own":      func(r io.Reader) (io.Reader, error) { return NewReader(r) },
	} {
		plain := samples()["mixed"]
		packed := pack(b, plain, 6)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				r, err := open(bytes.NewReader(packed))
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(struct{ io.Writer }{io.Discard}, r)
			}
		})
	}
}
