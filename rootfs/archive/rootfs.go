package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/image"
)

// ImportOptions are for Import.
type ImportOptions struct {
	Changes  []string // instructions, see Change
	Message  string
	Platform string // "os/arch[/variant]"; empty for this machine's
	TempDir  string
	MaxBytes int64
}

// Import makes an image of one layer from a root file system's tar, plain or
// compressed by gzip, zstd, xz or bzip2. Close the image after it has been
// imported into the store.
func Import(stream io.Reader, options ImportOptions) (*Image, error) {
	config, err := importConfig(&options)
	if err != nil {
		return nil, err
	}
	file, err := spool(stream, options.TempDir, options.MaxBytes)
	if err != nil {
		return nil, err
	}
	img, err := singleLayer(config, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Image{Image: img, file: file}, nil
}

func importConfig(options *ImportOptions) (*image.Config, error) {
	config := &image.Config{OS: "linux", Architecture: runtime.GOARCH, Created: time.Now().UTC()}
	if options.Platform != "" {
		var err error
		if config.OS, config.Architecture, config.Variant, err = image.ParsePlatform(options.Platform); err != nil {
			return nil, err
		}
	}
	if err := Changes(config, options.Changes); err != nil {
		return nil, err
	}
	message := options.Message
	if message == "" {
		message = "Imported from -"
	}
	config.History = []image.History{{Created: config.Created, Comment: message}}
	return config, nil
}

// singleLayer makes an image of a configuration and one plain layer in a file.
func singleLayer(config *image.Config, file *os.File) (v1.Image, error) {
	sum := sha256.New()
	size, err := io.Copy(sum, io.NewSectionReader(file, 0, 1<<62))
	if err != nil {
		return nil, err
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	layer := &fileLayer{source: single{file, size}, digest: digest, size: size, mediaType: types.OCIUncompressedLayer}
	config.DiffIDs = []string{digest.String()}
	raw, err := image.NewBlob(config)
	if err != nil {
		return nil, err
	}
	built := newBuilt(raw, types.OCIManifestSchema1, types.OCIConfigJSON)
	built.add(layer)
	return built.image()
}

// single is an archive of one file.
type single struct {
	file *os.File
	size int64
}

func (s single) has(string) bool           { return true }
func (s single) open(string) (blob, error) { return section(s.file, 0, s.size), nil }
func (s single) Close() error              { return s.file.Close() }
