package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bryo/rootfs/image"
	"bryo/rootfs/store/decompress"
)

// Options are for Open and Read.
type Options struct {
	// Platform chooses from an index, "os/arch[/variant]"; empty for this machine's.
	Platform string
	// TempDir is where a stream or the plain form of a compressed archive is put,
	// in a file without a name; empty for the system's.
	TempDir string
	// MaxBytes bounds that file; 0 for 256 GiB.
	MaxBytes int64
}

const defaultMaxBytes = 256 << 30

// ErrArchive is wrapped by the errors of an archive that is none, or is broken.
var ErrArchive = errors.New("image archive")

// Archive is an open archive. Its images read from it: close it after they have
// been imported.
type Archive struct {
	Images []*Image
	close  []io.Closer
}

// Image is an image of an archive.
type Image struct {
	v1.Image
	Names []string // as the archive has them, "debian:latest"; they are checked when used
	file  io.Closer
}

// Local says that the image came from no registry.
func (i *Image) Local() bool { return true }

// Close releases what an image that came alone (Import, Hello) holds.
func (i *Image) Close() error {
	if i.file == nil {
		return nil
	}
	return i.file.Close()
}

// Close releases the archive's files.
func (a *Archive) Close() error {
	var errs []error
	for _, closer := range a.close {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}

// Open opens an archive by its place: a path to a docker or OCI archive, however
// compressed, or to an OCI layout folder; or "docker-archive:PATH[:REF]",
// "oci-archive:PATH[:REF]", "oci:DIR[:REF]", where REF picks one image.
func Open(place string, options Options) (*Archive, error) {
	path, pick := place, ""
	if kind, rest, found := strings.Cut(place, ":"); found && isTransport(kind) {
		path, pick = cutReference(rest)
	}
	if path == "" {
		return nil, fmt.Errorf("%s names no file", place)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var source blobs
	if info.IsDir() {
		source, err = openFolder(path)
	} else {
		source, err = openFile(path, options)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return finish(path, source, pick, options)
}

// Read reads an archive from a stream, standard input for instance.
func Read(stream io.Reader, options Options) (*Archive, error) {
	file, err := spool(stream, options.TempDir, options.MaxBytes)
	if err != nil {
		return nil, err
	}
	source, err := openTar(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return finish("archive", source, "", options)
}

func finish(place string, source blobs, pick string, options Options) (*Archive, error) {
	a := &Archive{close: []io.Closer{source}}
	images, err := readImages(source, options.Platform)
	if err == nil && options.Platform != "" {
		err = areOf(images, options.Platform)
	}
	if err == nil {
		a.Images, err = choose(images, pick)
	}
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("open %s: %w", place, err)
	}
	return a, nil
}

// readImages tells the form by the files that are there. manifest.json comes
// first: archives of today's docker have both forms, and the names are in it.
func readImages(source blobs, platform string) ([]*Image, error) {
	if source.has("manifest.json") {
		return readDocker(source)
	}
	if source.has("index.json") {
		return readOCI(source, platform)
	}
	return nil, fmt.Errorf("%w: neither manifest.json nor index.json in it", ErrArchive)
}

// areOf: what is loaded is of the platform that was asked for. An index was chosen
// from; what has no index says its platform in its configuration alone.
func areOf(images []*Image, platform string) error {
	for _, img := range images {
		raw, err := img.RawConfigFile()
		if err != nil {
			return err
		}
		config, err := image.ParseConfig(raw)
		if err != nil {
			return err
		}
		if have := config.Platform(); !image.SamePlatform(platform, have) {
			return fmt.Errorf("image %s is for %s, not for %s", strings.Join(img.Names, ", "), have, platform)
		}
	}
	return nil
}

func isTransport(kind string) bool {
	return kind == "docker-archive" || kind == "oci-archive" || kind == "oci"
}

// cutReference parts PATH:REF. A path may have a colon: what exists wins.
func cutReference(rest string) (path, ref string) {
	if _, err := os.Stat(rest); err == nil {
		return rest, ""
	}
	for at := range rest {
		if rest[at] != ':' {
			continue
		}
		if _, err := os.Stat(rest[:at]); err == nil {
			return rest[:at], rest[at+1:]
		}
	}
	return rest, ""
}

// choose picks the image that ref names: by a name, by a tag alone, or as @N,
// its number from 0.
func choose(images []*Image, ref string) ([]*Image, error) {
	if ref == "" {
		return images, nil
	}
	for i, image := range images {
		if ref == fmt.Sprintf("@%d", i) {
			return []*Image{image}, nil
		}
		for _, name := range image.Names {
			if name == ref || strings.HasSuffix(name, "/"+ref) || strings.HasSuffix(name, ":"+ref) {
				return []*Image{image}, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: no image %q in it", ErrArchive, ref)
}

// openFile opens a tar for reading at any place: as it is, or its plain form in
// a file of its own.
func openFile(path string, options Options) (blobs, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 6)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		// Not a file that can be read at a place, a pipe for instance.
		n = 0
	}
	if err == nil && decompress.Detect(head[:n]) == decompress.None {
		return openTar(file)
	}
	defer file.Close()
	plain, err := spool(file, options.TempDir, options.MaxBytes)
	if err != nil {
		return nil, err
	}
	source, err := openTar(plain)
	if err != nil {
		plain.Close()
	}
	return source, err
}

// spool writes the plain form of a stream to a file that has no name, so that
// nothing stays behind, whatever happens.
func spool(stream io.Reader, dir string, limit int64) (*os.File, error) {
	if limit == 0 {
		limit = defaultMaxBytes
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	file, err := os.CreateTemp(dir, "archive-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	if err := fill(file, stream, limit); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func fill(file *os.File, stream io.Reader, limit int64) error {
	plain, kind, err := decompress.Reader(stream)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrArchive, err)
	}
	defer plain.Close()
	n, err := io.Copy(file, io.LimitReader(plain, limit+1))
	if err != nil {
		return fmt.Errorf("read archive (%s): %w", kind, err)
	}
	if n > limit {
		return fmt.Errorf("%w: more than %d bytes", ErrArchive, limit)
	}
	return nil
}
