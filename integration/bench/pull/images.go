package main

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// sample is one image that is pulled.
type sample struct {
	name   string
	layers int
	bytes  int64 // of files in each layer
	zstd   bool
}

var samples = []sample{
	{"one-gzip", 1, 200 << 20, false},
	{"one-zstd", 1, 200 << 20, true},
	{"eight-gzip", 8, 670 << 20 / 8, false},
	{"eight-zstd", 8, 670 << 20 / 8, true},
}

// push makes the image, layer files in dir, and pushes it.
func (s sample) push(address, dir string) (string, error) {
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err := mutate.Config(image, v1.Config{Cmd: []string{"/bin/true"}})
	if err != nil {
		return "", err
	}
	for i := range s.layers {
		file := filepath.Join(dir, fmt.Sprintf("%s-%d", s.name, i))
		if err := s.writeLayer(file, i); err != nil {
			return "", err
		}
		mediaType := types.OCILayer
		if s.zstd {
			mediaType = types.OCILayerZStd
		}
		layer, err := tarball.LayerFromFile(file, tarball.WithMediaType(mediaType))
		if err != nil {
			return "", err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return "", err
		}
	}
	ref, err := name.ParseReference(address+"/"+s.name+":1", name.Insecure)
	if err != nil {
		return "", err
	}
	return ref.String(), remote.Write(ref, image)
}

func (s sample) writeLayer(path string, n int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var compressor io.WriteCloser
	if s.zstd {
		compressor, err = zstd.NewWriter(file)
	} else {
		compressor, err = gzip.NewWriterLevel(file, 6)
	}
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(compressor, 1<<20)
	if err := writeTree(tar.NewWriter(buffered), n, s.bytes); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return compressor.Close()
}

// writeTree writes about as many, as large and as compressible files as a
// distribution has (17 kB on average, half below 3 kB, a few of megabytes), with
// a symlink, a hard link, an owner, an attribute or a deletion now and then.
func writeTree(w *tar.Writer, n int, total int64) error {
	random := rand.New(rand.NewPCG(uint64(n), 7))
	epoch := time.Unix(1.7e9, 123456789)
	add := func(h *tar.Header, body []byte) error {
		h.Size, h.ModTime, h.Format = int64(len(body)), epoch.Add(time.Duration(random.IntN(1e9))*time.Microsecond), tar.FormatPAX
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	body := make([]byte, 8<<20)
	dir, last := "", ""
	made := map[string]bool{}
	for i := 0; total > 0; i++ {
		if i%40 == 0 {
			dir = fmt.Sprintf("usr/share/l%d/d%02d/s%03d/", n, i/2000, i/40)
			for at, char := range dir {
				if char != '/' || made[dir[:at]] {
					continue
				}
				made[dir[:at]] = true
				if err := add(&tar.Header{Typeflag: tar.TypeDir, Name: dir[:at+1], Mode: 0o755, Uid: i % 3}, nil); err != nil {
					return err
				}
			}
		}
		name := fmt.Sprintf("%sfile-%06d", dir, i)
		size := int(min(int64(1500*math.Exp2(min(random.ExpFloat64()*1.6, 12.4))), total, int64(len(body))))
		fillBody(random, body[:size])
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Uid: i % 5, Gid: i % 7}
		switch i % 97 {
		case 3:
			header.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "value"}
		case 5:
			header.Mode = 0o4755
		}
		if err := add(header, body[:size]); err != nil {
			return err
		}
		total -= int64(size)
		var err error
		switch i % 53 {
		case 7:
			err = add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name + ".s", Linkname: last, Mode: 0o777}, nil)
		case 11:
			err = add(&tar.Header{Typeflag: tar.TypeLink, Name: name + ".h", Linkname: name, Mode: header.Mode, Uid: header.Uid, Gid: header.Gid, PAXRecords: header.PAXRecords}, nil)
		case 13:
			err = add(&tar.Header{Typeflag: tar.TypeReg, Name: dir + ".wh.gone" + fmt.Sprint(i), Mode: 0o644}, nil)
		}
		if err != nil {
			return err
		}
		last = name
	}
	return w.Close()
}

// fillBody: a third noise, the rest words, which compresses as programs do.
func fillBody(random *rand.Rand, body []byte) {
	for at := 0; at < len(body); {
		if random.IntN(3) == 0 {
			for end := min(at+64, len(body)); at < end; at++ {
				body[at] = byte(random.Uint32())
			}
			continue
		}
		for range 16 {
			at += copy(body[at:], words[random.IntN(len(words))])
		}
	}
}

var words = func() []string {
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]string, 4096)
	for i := range list {
		word := make([]byte, 3+random.IntN(8))
		for j := range word {
			word[j] = "etaoinshrdlucmfw _.,(){}\n"[random.IntN(25)]
		}
		list[i] = string(word)
	}
	return list
}()
