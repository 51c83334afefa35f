package changes

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootfs/files"
)

// stack is one directory of the image as its layers have it, topmost first: those
// in which it exists, down to the first that hides what is below.
type stack struct{ dirs []int }

func openLayers(layers []string) (stack, error) {
	var s stack
	for _, layer := range layers {
		fd, err := openTop(layer)
		if err != nil {
			s.close()
			return stack{}, err
		}
		s.dirs = append(s.dirs, fd)
		if exists(fd, whiteoutOpaque) {
			break
		}
	}
	return s, nil
}

func (s stack) close() {
	for _, fd := range s.dirs {
		unix.Close(fd)
	}
}

// The names by which layers record deletions as files, where no overlay is.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// stat finds a name as the image shows it.
func (s stack) stat(name string) (*unix.Stat_t, bool, error) {
	for _, dir := range s.dirs {
		var st unix.Stat_t
		err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == nil && isWhiteout(&st):
			return nil, false, nil
		case err == nil:
			return &st, true, nil
		case err != unix.ENOENT:
			return nil, false, err
		case deletedByFile(dir, name):
			return nil, false, nil
		}
	}
	return nil, false, nil
}

func deletedByFile(dir int, name string) bool { return exists(dir, whiteoutPrefix+name) }

func exists(dir int, name string) bool {
	return unix.Faccessat(dir, name, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// enter opens the directory name of all layers that show through.
func (s stack) enter(name string) (stack, error) {
	var inner stack
	for _, dir := range s.dirs {
		fd, err := openDir(dir, name)
		if err == unix.ENOENT {
			if deletedByFile(dir, name) {
				break
			}
			continue
		}
		if err == unix.ENOTDIR || err == unix.ELOOP {
			break // a file hides what is below
		}
		if err != nil {
			inner.close()
			return stack{}, err
		}
		inner.dirs = append(inner.dirs, fd)
		if isOpaque(fd) || exists(fd, whiteoutOpaque) || deletedByFile(dir, name) {
			break
		}
	}
	return inner, nil
}

// names lists what the image shows in the directory, sorted.
func (s stack) names() ([]string, error) {
	shown, decided := map[string]bool{}, map[string]bool{}
	for _, dir := range s.dirs {
		list, err := files.List(dir)
		if err != nil {
			return nil, err
		}
		hides := map[string]bool{}
		for _, name := range list {
			if deleted, found := strings.CutPrefix(name, whiteoutPrefix); found {
				hides[deleted] = true
				continue
			}
			var st unix.Stat_t
			if decided[name] || unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			decided[name], shown[name] = true, !isWhiteout(&st)
		}
		maps.Copy(decided, hides)
	}
	maps.DeleteFunc(shown, func(_ string, yes bool) bool { return !yes })
	return slices.Sorted(maps.Keys(shown)), nil
}
