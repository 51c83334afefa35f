package logs

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	currentName     = "container.log" // a link to the file being written
	packedSuffix    = ".gz"
	temporarySuffix = ".tmp"
)

// numbered is one file of a log.
type numbered struct {
	number int
	packed bool  // compressed with gzip
	size   int64 // bytes on disk when it was listed or rotated
	failed bool  // could not be compressed

	changed time.Time // when it was listed
}

func (n numbered) name() string {
	name := currentName + "." + strconv.Itoa(n.number)
	if n.packed {
		name += packedSuffix
	}
	return name
}

func (n numbered) path(dir string) string { return filepath.Join(dir, n.name()) }

// parseName is the inverse of name.
func parseName(name string) (numbered, bool) {
	var n numbered
	digits, ok := strings.CutPrefix(name, currentName+".")
	if !ok {
		return n, false
	}
	digits, n.packed = strings.CutSuffix(digits, packedSuffix)
	number, err := strconv.Atoi(digits)
	if err != nil || number < 1 || strconv.Itoa(number) != digits {
		return n, false
	}
	n.number = number
	return n, true
}

// list returns the files of a log, oldest first. A directory that is not there
// is an empty log. Where both forms of a number exist, compression is about to
// end or was cut off: the plain one is whole.
func list(dir string) ([]numbered, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []numbered
	for _, e := range entries {
		if n, ok := parseName(e.Name()); ok {
			if info, err := e.Info(); err == nil {
				n.size, n.changed = info.Size(), info.ModTime()
			}
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b numbered) int {
		if a.number == b.number && a.packed {
			return 1
		}
		return cmp.Compare(a.number, b.number)
	})
	return slices.CompactFunc(all, func(a, b numbered) bool { return a.number == b.number }), nil
}

// removeUnfinished removes what a killed writer left: files being made, and
// packed ones whose plain form is still there.
func removeUnfinished(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		unfinished := strings.HasSuffix(e.Name(), temporarySuffix)
		if n, ok := parseName(e.Name()); ok && n.packed {
			n.packed = false
			_, err := os.Lstat(n.path(dir))
			unfinished = err == nil
		}
		if unfinished {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Path is the file that a log in dir is written to, a link; what inspect shows
// as LogPath.
func Path(dir string) string { return filepath.Join(dir, currentName) }
