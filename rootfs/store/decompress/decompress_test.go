package decompress

import (
	"bytes"
	"io"
	"os/exec"
	"testing"
)

func TestReader(t *testing.T) {
	want := bytes.Repeat([]byte("a layer of an image\n"), 5000)
	tests := map[string]struct {
		command []string
		kind    Kind
	}{
		"plain": {nil, None},
		"gzip":  {[]string{"gzip", "-c"}, Gzip},
		"zstd":  {[]string{"zstd", "-c"}, Zstd},
		"bzip2": {[]string{"bzip2", "-c"}, Bzip2},
		"xz":    {[]string{"xz", "-9", "-c"}, XZ},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			packed := want
			if test.command != nil {
				packed = run(t, test.command, want)
			}
			reader, kind, err := Reader(bytes.NewReader(packed))
			if err != nil || kind != test.kind {
				t.Fatalf("kind %s, error %v; want %s", kind, err, test.kind)
			}
			defer reader.Close()
			if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, error %v; want %d", len(got), err, len(want))
			}
		})
	}
}

func run(t *testing.T, command []string, input []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skipf("no %s on this machine", command[0])
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// A zstd frame may ask for a window of 2 GiB, an xz block for a dictionary of 4.
func TestMemoryRefused(t *testing.T) {
	zstd := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0, 0} // window descriptor: 2^(10+21)
	xz := run(t, []string{"xz", "--lzma2=dict=1GiB", "-c"}, []byte("x"))
	for name, packed := range map[string][]byte{"zstd": zstd, "xz": xz} {
		t.Run(name, func(t *testing.T) {
			reader, _, err := Reader(bytes.NewReader(packed))
			if err == nil {
				_, err = io.ReadAll(reader)
			}
			if err == nil {
				t.Error("accepted")
			}
			t.Log(err)
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x03, 0x19, 0, 0, 'a', 'b', 'c'})
	f.Add([]byte("\xfd7zXZ\x00\x00\x04"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, packed []byte) {
		reader, _, err := Reader(bytes.NewReader(packed))
		if err != nil {
			return
		}
		io.Copy(io.Discard, io.LimitReader(reader, 1<<20))
		reader.Close()
	})
}
