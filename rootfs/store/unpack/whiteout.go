package unpack

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Whiteouts is the form in which a layer records that a file of a layer below
// is deleted.
type Whiteouts int

const (
	// OverlayUser is overlayfs's own form as a user namespace has it: a character
	// device 0/0, and user.overlay.opaque on directories. Needs kernel 5.8.
	OverlayUser Whiteouts = iota
	// Files keeps the archive's form: files named .wh.NAME. For hosts where no
	// overlay is mounted and trees are copied together instead.
	Files
)

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
	opaqueXattr    = "user.overlay.opaque"
)

// whiteout records a deletion. It deletes nothing itself: what is deleted lies
// in other layers, which this process never touches.
func (u *unpacker) whiteout(e *entry) error {
	if e.base == whiteoutOpaque {
		return u.opaque(e)
	}
	if strings.HasPrefix(e.base, whiteoutMeta) {
		return nil // books of aufs, which no engine writes any more
	}
	name := strings.TrimPrefix(e.base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errors.New("whiteout of no file")
	}
	parent, err := u.root.dir(e.dir)
	if err != nil {
		return err
	}
	if u.Whiteouts == Files {
		return ignoreExisting(unix.Mknodat(parent, e.base, unix.S_IFREG|0o600, 0))
	}
	err = unix.Mknodat(parent, name, unix.S_IFCHR, 0)
	if err == unix.EEXIST {
		return u.whiteoutOver(parent, name)
	}
	if err != nil {
		return fmt.Errorf("whiteout: %w", err)
	}
	return unix.Fchownat(parent, name, e.uid, e.gid, unix.AT_SYMLINK_NOFOLLOW)
}

func ignoreExisting(err error) error {
	if err == unix.EEXIST {
		return nil
	}
	return err
}

// whiteoutOver handles a whiteout of a name that this layer has itself: it means
// the layers below only. A file hides them anyway, a directory must be told.
func (u *unpacker) whiteoutOver(parent int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return u.setOpaque(parent, name)
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// opaque hides what the layers below have in the entry's directory.
func (u *unpacker) opaque(e *entry) error {
	parent, err := u.root.dir(e.dir)
	if err != nil {
		return err
	}
	if u.Whiteouts == Files {
		return ignoreExisting(unix.Mknodat(parent, e.base, unix.S_IFREG|0o600, 0))
	}
	return u.setOpaque(parent, ".")
}

func (u *unpacker) setOpaque(parent int, name string) error {
	if u.Whiteouts == Files {
		parentPath := path.Join(name, whiteoutOpaque)
		return ignoreExisting(unix.Mknodat(parent, parentPath, unix.S_IFREG|0o600, 0))
	}
	dir, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Fsetxattr(dir, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("opaque directory: %w", err)
	}
	return nil
}
