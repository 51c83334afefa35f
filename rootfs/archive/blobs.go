package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootfs/image"
)

// blobs are the files of an archive or of a layout folder, by clean relative name.
type blobs interface {
	has(name string) bool
	open(name string) (blob, error)
	Close() error
}

// blob is one file, open for reading it once.
type blob struct {
	size   int64
	reader io.ReadCloser
}

// readJSON reads a small file whole: manifests, configurations, indexes.
func readJSON(source blobs, name string) ([]byte, error) {
	b, err := source.open(name)
	if err != nil {
		return nil, err
	}
	defer b.reader.Close()
	if b.size > image.MaxJSON {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrArchive, name, b.size, image.MaxJSON)
	}
	data, err := io.ReadAll(b.reader)
	if err == nil && int64(len(data)) != b.size {
		err = fmt.Errorf("%w: %s: cut off", ErrArchive, name)
	}
	return data, err
}

// folder is an OCI layout folder. Its files are opened inside it.
type folder struct{ fd int }

func openFolder(dir string) (*folder, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &folder{fd}, nil
}

func (f *folder) Close() error { return unix.Close(f.fd) }

func (f *folder) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(f.fd, name, &st, 0) == nil
}

// open resolves inside the folder: a layout from elsewhere may hold symlinks.
func (f *folder) open(name string) (blob, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(f.fd, name, &how)
	if err != nil {
		return blob{}, &os.PathError{Op: "open", Path: name, Err: err}
	}
	file := os.NewFile(uintptr(fd), name)
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is not a file", ErrArchive, name)
	}
	if err != nil {
		file.Close()
		return blob{}, err
	}
	return blob{info.Size(), file}, nil
}

// section is a part of a file that stays open.
func section(file *os.File, offset, size int64) blob {
	return blob{size, io.NopCloser(io.NewSectionReader(file, offset, size))}
}

// tarFile is an archive in a file, with a table of what is where.
type tarFile struct {
	file    *os.File
	entries map[string]tarEntry
}

type tarEntry struct {
	offset, size int64
	link         string // what a symlink or hard link leads to, clean
}

// maxEntries bounds the table: an archive has a few files for each layer.
const maxEntries = 1 << 17

func openTar(file *os.File) (*tarFile, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	t := &tarFile{file: file, entries: map[string]tarEntry{}}
	// The tar reader skips contents by seeking; the offset tells where they are.
	whole := io.NewSectionReader(file, 0, info.Size())
	reader := tar.NewReader(whole)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrArchive, noEOF(err))
		}
		if err := t.add(header, whole); err != nil {
			return nil, err
		}
	}
	if len(t.entries) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrArchive)
	}
	return t, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("cut off")
	}
	return err
}

func (t *tarFile) add(header *tar.Header, whole *io.SectionReader) error {
	name, err := cleanName(header.Name)
	if err != nil {
		return err
	}
	offset, err := whole.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	entry := tarEntry{offset: offset, size: header.Size}
	switch header.Typeflag {
	case tar.TypeReg: // the reader gives it for the old NUL, too
		if header.Size < 0 || header.Size > whole.Size()-offset {
			return fmt.Errorf("%w: %s: cut off after %d of %d bytes", ErrArchive, name, whole.Size()-offset, header.Size)
		}
	case tar.TypeSymlink:
		// docker of old wrote equal layers as ../ID/layer.tar.
		if entry.link, err = cleanName(path.Join(path.Dir(name), header.Linkname)); err != nil {
			return err
		}
	case tar.TypeLink:
		if entry.link, err = cleanName(header.Linkname); err != nil {
			return err
		}
	default:
		return nil
	}
	t.entries[name] = entry
	if len(t.entries) > maxEntries {
		return fmt.Errorf("%w: more than %d files", ErrArchive, maxEntries)
	}
	return nil
}

// cleanName refuses names that lead out of the archive. They would only be keys
// of a table here, but an archive that has them means harm.
func cleanName(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "./"))
	if clean == ".." || strings.HasPrefix(clean, "../") || strings.HasPrefix(clean, "/") {
		return "", fmt.Errorf("%w: %.200q leads out of it", ErrArchive, name)
	}
	return clean, nil
}

func (t *tarFile) Close() error { return t.file.Close() }

func (t *tarFile) has(name string) bool {
	_, found := t.entries[name]
	return found
}

func (t *tarFile) open(name string) (blob, error) {
	clean, err := cleanName(name)
	if err != nil {
		return blob{}, err
	}
	for range 10 { // links
		entry, found := t.entries[clean]
		if !found {
			return blob{}, fmt.Errorf("%w: %.200q is missing from it", ErrArchive, name)
		}
		if entry.link == "" {
			return section(t.file, entry.offset, entry.size), nil
		}
		clean = entry.link
	}
	return blob{}, fmt.Errorf("%w: %.200q: links without end", ErrArchive, name)
}
