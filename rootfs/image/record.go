package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"bryo/internal/codec"
	"bryo/rootfs/reference"
)

// Record is everything that a run needs from an image.
//
//easyjson:json
type Record struct {
	ID        string   // 64 hex: digest of the configuration
	Reference string   // normalized: docker.io/library/debian:latest; empty when found by ID
	Digest    string   // manifest digest sha256:...
	Layers    []string // layer directories, absolute, topmost first: overlay lowerdir order
	Short     []string // the same relative to storage/overlay ("l/ABC..."), for mounts limited to one page of options
	Config    Config
	Stamp     Stamp `json:"-"` // the store's at the time of Lookup, which is when the record was right
	Size      int64 // bytes of all layers, unpacked
}

// Stamp identifies one state of the store: the file that names its images.
type Stamp struct {
	Inode uint64
	Size  int64
	Mtime int64 // nanoseconds
}

// Lookup errors. Both mean: ask the image role, which knows for sure.
var (
	ErrNotFound = errors.New("no record of the image")
	ErrStale    = errors.New("the record is older than the store")
)

// maxRecord bounds a record file: a parsed configuration and a few hundred paths.
const maxRecord = MaxJSON + 1<<20

// Lookup finds the record of ref under the data root. ref is a name as a
// person types it, a normalized one, repo@sha256:..., an image ID or the
// beginning of one; platform is empty or "os/arch[/variant]".
//
// It takes no lock and enters no namespace. The answer is right as of the
// moment of the call; whoever starts a container from it holds images.lock
// shared, so that the image stays. Errors are ErrNotFound and ErrStale (use
// errors.Is), or the system's.
func Lookup(root, ref, platform string) (*Record, error) {
	stamp, err := current(root)
	if err != nil {
		return nil, err
	}
	record, err := find(Dir(root), ref, platform)
	if err != nil {
		return nil, err
	}
	record.Stamp = stamp
	return record, nil
}

// find looks for a name first and an ID second, as Docker does, unless ref can
// only be an ID.
func find(dir, ref, platform string) (*Record, error) {
	if id, found := strings.CutPrefix(ref, "sha256:"); found {
		return byID(dir, id, platform)
	}
	if len(ref) == 64 && isHex(ref) {
		return byID(dir, ref, platform)
	}
	if name, err := Normalize(ref); err == nil {
		record, err := read(filepath.Join(dir, fileName(name, platform)))
		if err == nil && record.Reference == name {
			return record, nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return byID(dir, ref, platform)
}

// Normalize spells a name as the store and the records have it: with domain,
// and with a tag or, if it has both, only the digest.
func Normalize(ref string) (string, error) {
	parsed, err := reference.Parse(ref)
	if err != nil {
		return "", err
	}
	if parsed.Digest != "" {
		parsed.Tag = ""
	}
	return parsed.String(), nil
}

// current compares the store's stamp with the one that the records belong to:
// a symlink whose text is the stamp, so that one readlink tells.
func current(root string) (Stamp, error) {
	recorded, err := os.Readlink(stampPath(root))
	if errors.Is(err, fs.ErrNotExist) {
		return Stamp{}, ErrNotFound
	}
	if err != nil {
		return Stamp{}, err
	}
	stamp, err := StoreStamp(root)
	if err == nil && recorded != stamp.String() {
		err = ErrStale
	}
	return stamp, err
}

// StoreStamp is the store's present stamp; the zero Stamp for a store without images.
func StoreStamp(root string) (Stamp, error) {
	var st syscall.Stat_t
	path := filepath.Join(root, "storage", "overlay-images", "images.json")
	if err := syscall.Stat(path, &st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Stamp{}, nil
		}
		return Stamp{}, fmt.Errorf("stat %s: %w", path, err)
	}
	return Stamp{Inode: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()}, nil
}

func (s Stamp) String() string { return fmt.Sprintf("%d-%d-%d", s.Inode, s.Size, s.Mtime) }

// byID finds an image by its ID or the beginning of it. Two images that begin
// alike are ErrNotFound here: the image role words the complaint.
func byID(dir, prefix, platform string) (*Record, error) {
	if prefix == "" || len(prefix) > 64 || !isHex(prefix) {
		return nil, ErrNotFound
	}
	id := prefix
	if len(prefix) < 64 {
		var err error
		if id, err = complete(dir, prefix); err != nil {
			return nil, err
		}
	}
	record, err := read(filepath.Join(dir, idName(id)))
	if err != nil {
		return nil, err
	}
	if record.ID != id || (platform != "" && !SamePlatform(platform, record.Config.Platform())) {
		return nil, ErrNotFound
	}
	return record, nil
}

func complete(dir, prefix string) (string, error) {
	file, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	names, err := file.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	found := ""
	for _, name := range names {
		id, ok := strings.CutPrefix(name, "id-")
		if !ok || !strings.HasPrefix(id, prefix) {
			continue
		}
		if found != "" {
			return "", ErrNotFound
		}
		found = id
	}
	if found == "" {
		return "", ErrNotFound
	}
	return found, nil
}

// SamePlatform compares two "os/arch[/variant]"; a variant counts only when both name one.
func SamePlatform(a, b string) bool {
	as, bs := strings.SplitN(a, "/", 3), strings.SplitN(b, "/", 3)
	if len(as) < 2 || len(bs) < 2 || as[0] != bs[0] || as[1] != bs[1] {
		return false
	}
	return len(as) < 3 || len(bs) < 3 || as[2] == bs[2]
}

func read(path string) (*Record, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	blob, err := io.ReadAll(io.LimitReader(file, maxRecord+1))
	if err != nil {
		return nil, err
	}
	record, err := parseRecord(blob)
	if err != nil {
		// Half a record after a power loss: the image role writes a new one.
		return nil, fmt.Errorf("%w: %v", ErrStale, err)
	}
	return record, nil
}

func parseRecord(blob []byte) (*Record, error) {
	if len(blob) > maxRecord {
		return nil, fmt.Errorf("record of %d bytes", len(blob))
	}
	record := new(Record)
	if err := codec.Unmarshal(blob, record); err != nil {
		return nil, err
	}
	if len(record.ID) != 64 || !isHex(record.ID) {
		return nil, fmt.Errorf("record without an image ID")
	}
	for _, layer := range record.Layers {
		if !filepath.IsAbs(layer) {
			return nil, fmt.Errorf("layer %q is no absolute path", layer)
		}
	}
	return record, record.Config.check()
}

// Dir is where the records of a data root are.
func Dir(root string) string { return filepath.Join(root, "records") }

func stampPath(root string) string { return filepath.Join(Dir(root), "stamp") }

// fileName begins with what depends on the name alone, so that all platforms of
// a name can be found again.
func fileName(name, platform string) string {
	sum := sha256.Sum256([]byte(platform))
	return namePrefix(name) + hex.EncodeToString(sum[:8])
}

func namePrefix(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "ref-" + hex.EncodeToString(sum[:]) + "-"
}

func idName(id string) string { return "id-" + id }
