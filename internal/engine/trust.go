package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// trusted refuses a data root that another user made or could exchange: who owns
// the store decides what runs (A129-A132). One that is not there yet is judged
// by where it would be.
func trusted(root string) error {
	var st unix.Stat_t
	err := unix.Lstat(root, &st)
	switch {
	case err == nil && int(st.Uid) != os.Geteuid():
		return &RootError{root, fmt.Errorf("belongs to uid %d, not to uid %d", st.Uid, os.Geteuid())}
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o022 != 0:
		return &RootError{root, fmt.Errorf("mode %#o lets other users write", st.Mode&0o777)}
	}
	return trustedParents(root)
}

// trustedParents looks at the directories above: whoever may write there can put
// another directory in the root's place.
func trustedParents(root string) error {
	path, err := filepath.EvalSymlinks(filepath.Dir(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // made by us, see ready
	}
	if err != nil {
		return &RootError{root, cause(err)}
	}
	administrator := ownerOfSlash()
	for ; path != "/"; path = filepath.Dir(path) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &RootError{root, fmt.Errorf("%s: %w", path, err)}
		}
		switch {
		case int(st.Uid) != os.Geteuid() && st.Uid != administrator:
			return &RootError{root, fmt.Errorf("lies below %s, which belongs to uid %d", path, st.Uid)}
		case st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0:
			return &RootError{root, fmt.Errorf("lies below %s, where every user may write (mode %#o)", path, st.Mode&0o777)}
		}
	}
	return nil
}

// ownerOfSlash is root, or the id that stands for it in a user namespace.
func ownerOfSlash() uint32 {
	var st unix.Stat_t
	if unix.Lstat("/", &st) != nil {
		return 0
	}
	return st.Uid
}
