package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// placeRoot applies an entry for the layer's "/" itself. Only a directory can
// be one: a file or a symlink in its place would replace the root.
func (u *unpacker) placeRoot(e *entry) error {
	if e.Typeflag != tar.TypeDir {
		return errors.New("the root of a layer can only be a directory")
	}
	mode := fileMode(e.Mode)
	u.rootMode = &mode
	u.owners.note(e.uid, e.gid)
	if err := u.dress(u.root.fd, ".", e); err != nil {
		return err
	}
	return u.times.add(".", e.ModTime)
}

func (u *unpacker) placeDir(e *entry) error {
	parent, err := u.root.dir(e.dir)
	if err != nil {
		return err
	}
	opaque := false
	err = unix.Mkdirat(parent, e.base, 0o700)
	if err == unix.EEXIST {
		// A directory stays and gets the new attributes; all else gives way.
		var st unix.Stat_t
		if err = unix.Fstatat(parent, e.base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			opaque = isWhiteout(&st)
			if err = u.replace(parent, e.base); err == nil {
				err = unix.Mkdirat(parent, e.base, 0o700)
			}
		}
	}
	if err != nil {
		return err
	}
	if err := u.dress(parent, e.base, e); err != nil {
		return err
	}
	if opaque {
		// The archive deletes the directory below and makes a new one.
		if err := u.setOpaque(parent, e.base); err != nil {
			return err
		}
	}
	return u.times.add(path.Join(e.dir, e.base), e.ModTime)
}

// dress gives the directory base below fd the entry's owner, mode and extended
// attributes. It opens the directory, which a hostile archive cannot have
// swapped for anything else: this process is the only writer.
func (u *unpacker) dress(fd int, base string, e *entry) error {
	dir, err := unix.Openat(fd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := u.countXattrs(e.Header); err != nil {
		return err
	}
	return u.attributes(dir, e.Header, e.uid, e.gid)
}

func (u *unpacker) placeFile(e *entry) error {
	if err := u.spend(e.Size); err != nil {
		return err
	}
	if err := u.countXattrs(e.Header); err != nil {
		return err
	}
	parent, err := u.root.dir(e.dir)
	if err != nil {
		return err
	}
	var fd int
	err = u.create(parent, e, func() (err error) {
		fd, err = unix.Openat(parent, e.base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(e.Mode)&0o777)
		return err
	})
	if err != nil {
		return err
	}
	err = u.tape.payload(e.Header, func() error { return u.fill(fd, e) })
	end := job{fd: fd, then: made, header: e.Header, uid: e.uid, gid: e.gid}
	if err != nil {
		end.then = dropped
	}
	if failed := u.filler.add(end, 0); err == nil {
		err = failed
	}
	return err
}

// fill reads the entry's contents for the filler. They pass through here once, in
// buffers that are reused for the whole layer.
func (u *unpacker) fill(fd int, e *entry) error {
	if err := u.filler.begin(e.Size); err != nil {
		return err
	}
	for left := e.Size; left > 0; {
		n, err := u.archive.Read(u.filler.space())
		left -= int64(n)
		if err := u.filler.add(job{fd: fd, then: more, header: e.Header}, n); err != nil {
			return err
		}
		if err := u.ratio(u.tape.read); err != nil {
			return err
		}
		if err == io.EOF && left == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", noEOF(err))
		}
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (u *unpacker) placeSymlink(e *entry) error {
	parent, err := u.root.dir(e.dir)
	if err != nil {
		return err
	}
	if e.Linkname == "" {
		return errors.New("symlink without a target")
	}
	err = u.create(parent, e, func() error { return unix.Symlinkat(e.Linkname, parent, e.base) })
	if err != nil {
		return err
	}
	return u.finish(parent, e)
}

// finish sets owner and times of a name that is never opened.
func (u *unpacker) finish(parent int, e *entry) error {
	if err := unix.Fchownat(parent, e.base, e.uid, e.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner %d:%d: %w", e.uid, e.gid, err)
	}
	return unix.UtimesNanoAt(parent, e.base, timespecs(e.Header), unix.AT_SYMLINK_NOFOLLOW)
}

// placeLink makes a hard link to an earlier entry. The target must lie in the
// layer and be reached without a symlink (CVE-2026-50163); a leading slash means
// the layer's root, as some builders write it.
func (u *unpacker) placeLink(e *entry) error {
	dir, base, err := split(e.Linkname)
	if err != nil || base == "." {
		return fmt.Errorf("hard link to %.200q: not a file of this layer", e.Linkname)
	}
	from, err := u.root.open(dir, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return linkError(e.Linkname, err)
	}
	defer unix.Close(from)
	parent, err := u.root.dir(e.dir)
	if err != nil {
		return err
	}
	if same, err := sameName(from, base, parent, e.base); same || err != nil {
		return linkErrorIf(e.Linkname, err)
	}
	err = u.create(parent, e, func() error { return unix.Linkat(from, base, parent, e.base, 0) })
	if err != nil {
		return linkError(e.Linkname, err)
	}
	return u.dressLink(parent, e)
}

// dressLink gives the file the attributes of its link's entry, the later of the
// two: other engines do so. A symlink with a second name has only an owner.
func (u *unpacker) dressLink(parent int, e *entry) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, e.base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.Fchownat(parent, e.base, e.uid, e.gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err := u.countXattrs(e.Header); err != nil {
		return err
	}
	fd, err := unix.Openat(parent, e.base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// By the filler, which may not have come to the file itself yet.
	return u.filler.add(job{fd: fd, then: changed, header: e.Header, uid: e.uid, gid: e.gid}, 0)
}

// sameName tells whether both names are the same file already: replacing one by
// a link to itself would lose it.
func sameName(from int, base string, to int, other string) (bool, error) {
	var a, b unix.Stat_t
	if err := unix.Fstatat(from, base, &a, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if a.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, unix.EISDIR
	}
	if err := unix.Fstatat(to, other, &b, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, nil
	}
	return a.Ino == b.Ino && a.Dev == b.Dev, nil
}

func linkErrorIf(target string, err error) error {
	if err == nil {
		return nil
	}
	return linkError(target, err)
}

func linkError(target string, err error) error {
	switch err {
	case unix.ELOOP:
		return fmt.Errorf("hard link to %.200q: leads through a symlink", target)
	case unix.ENOENT, unix.ENOTDIR:
		return fmt.Errorf("hard link to %.200q: not a file of this layer", target)
	}
	return fmt.Errorf("hard link to %.200q: %w", target, err)
}

// placeFIFO makes a FIFO. Nothing on the host ever opens it (CVE-2024-9676).
func (u *unpacker) placeFIFO(e *entry) error {
	parent, err := u.root.dir(e.dir)
	if err != nil {
		return err
	}
	err = u.create(parent, e, func() error { return unix.Mknodat(parent, e.base, unix.S_IFIFO|0o600, 0) })
	if err != nil {
		return err
	}
	if err := unix.Fchownat(parent, e.base, e.uid, e.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner %d:%d: %w", e.uid, e.gid, err)
	}
	// Follows a symlink, but the name has just been made, exclusively, by us.
	if err := unix.Fchmodat(parent, e.base, uint32(e.Mode)&0o7777, 0); err != nil {
		return err
	}
	return unix.UtimesNanoAt(parent, e.base, timespecs(e.Header), unix.AT_SYMLINK_NOFOLLOW)
}

// fileMode is a tar mode as Go has it.
func fileMode(mode int64) os.FileMode {
	result := os.FileMode(mode & 0o777)
	for bit, flag := range map[int64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if mode&bit != 0 {
			result |= flag
		}
	}
	return result
}

// isSparse tells whether the archive stores the file with holes left out.
func isSparse(header *tar.Header) bool {
	if header.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
