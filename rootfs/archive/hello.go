package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/image"
)

// Hello makes the built-in image: one layer with the program exe as /bryo, which
// is static and so needs nothing else, and runs `/bryo hello`. Two calls for the
// same program make the same image. Close it after use.
func Hello(exe string) (*Image, error) {
	file, err := os.Open(exe)
	if err != nil {
		return nil, fmt.Errorf("built-in image: %w", err)
	}
	img, err := helloImage(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("built-in image: %w", err)
	}
	return &Image{Image: img, Names: []string{"hello"}, file: file}, nil
}

func helloImage(exe *os.File) (v1.Image, error) {
	info, err := exe.Stat()
	if err != nil {
		return nil, err
	}
	layer := &programLayer{exe: exe, size: info.Size()}
	sum := sha256.New()
	size, err := layer.write(sum)
	if err != nil {
		return nil, err
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	config := &image.Config{
		OS: "linux", Architecture: runtime.GOARCH, Created: epoch(), DiffIDs: []string{digest.String()},
		History: []image.History{{Created: epoch(), CreatedBy: "bryo", Comment: "made from the running program"}},
		Run: image.Run{
			Cmd: []string{"/bryo", "hello"}, Env: []string{"PATH=/"}, WorkingDir: "/",
			Labels: map[string]string{"org.opencontainers.image.title": "hello", "org.opencontainers.image.description": "bryo's built-in image"},
		},
	}
	raw, err := image.NewBlob(config)
	if err != nil {
		return nil, err
	}
	built := newBuilt(raw, types.OCIManifestSchema1, types.OCIConfigJSON)
	built.add(&fileLayer{source: layer, digest: digest, size: size, mediaType: types.OCIUncompressedLayer})
	return built.image()
}

// programLayer is a tar around the program's file, made when it is read.
type programLayer struct {
	exe  *os.File
	size int64
}

func (l *programLayer) write(w io.Writer) (int64, error) {
	counter := &counted{w: w}
	archive := tar.NewWriter(counter)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: "bryo", Mode: 0o755, Size: l.size, ModTime: epoch(), Format: tar.FormatUSTAR}
	if err := archive.WriteHeader(header); err != nil {
		return 0, err
	}
	if _, err := io.Copy(archive, io.NewSectionReader(l.exe, 0, l.size)); err != nil {
		return 0, err
	}
	err := archive.Close()
	return counter.n, err
}

func (l *programLayer) has(string) bool { return true }
func (l *programLayer) Close() error    { return l.exe.Close() }

func (l *programLayer) open(string) (blob, error) {
	reader, writer := io.Pipe()
	go func() {
		_, err := l.write(writer)
		writer.CloseWithError(err)
	}()
	return blob{-1, reader}, nil
}

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
