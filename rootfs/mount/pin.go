package mount

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// Pinned is a file or directory of the host that will be mounted: what was opened
// is what gets mounted, whoever swaps names in between. It is a private copy of
// the mount (open_tree(2), kernel 5.2), attached nowhere yet, so attributes set
// on it touch nothing else.
type Pinned struct {
	Stat   unix.Stat_t
	source string
	fd     int
	copied bool // fd is a detached mount; otherwise an O_PATH descriptor to bind from
	rec    bool
	late   Attributes // set when it is attached: this kernel cannot do it before
}

// Attributes are the per-mount restrictions. On a recursive pin they reach every
// mount below too, except ReadOnly when OnlyTop is set.
type Attributes struct {
	ReadOnly, NoSuid, NoDev, NoExec bool
	Suid, Dev, Exec                 bool // lift what the source's mount has
	OnlyTop                         bool // ReadOnly: not the mounts below
	All                             bool // ReadOnly: an error when the mounts below stay writable
}

func (a Attributes) empty() bool {
	a.OnlyTop, a.All = false, false
	return a == Attributes{}
}

// Pin opens source, following links as the user who named it expects. recursive
// takes the mounts below along. The caller closes it.
func Pin(source string, recursive bool) (*Pinned, error) {
	p, err := pin(unix.AT_FDCWD, source, 0, recursive)
	if errors.Is(err, unix.ENOENT) {
		return nil, &noSource{source, err}
	}
	if err != nil {
		return nil, fmt.Errorf("bind mount source %s: %w", source, err)
	}
	p.source = source
	return p, nil
}

// noSource is what docker says of a bind whose source is not there.
type noSource struct {
	path string
	err  error
}

func (e *noSource) Error() string { return "bind source path does not exist: " + e.path }
func (e *noSource) Unwrap() error { return e.err }

// PinBelow opens sub inside the directory dir; links in sub may not leave it.
func PinBelow(dir, sub string, recursive bool) (*Pinned, error) {
	object := fmt.Sprintf("bind mount source %s in %s", sub, dir)
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	defer unix.Close(at)
	fd, err := inroot.Inside(at, sub, unix.O_PATH)
	if err != nil {
		var errno unix.Errno
		errors.As(err, &errno)
		return nil, fmt.Errorf("%s: %w", object, errno)
	}
	defer unix.Close(fd)
	p, err := pin(fd, "", unix.AT_EMPTY_PATH, recursive)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	p.source = sub
	return p, nil
}

func pin(dir int, name string, flags uint, recursive bool) (*Pinned, error) {
	p := &Pinned{copied: true, rec: recursive}
	how := flags | unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if recursive {
		how |= unix.AT_RECURSIVE
	}
	var err error
	p.fd, err = unix.OpenTree(dir, name, how)
	if err == unix.ENOSYS {
		p.copied = false
		p.fd, err = openPath(dir, name)
	}
	if err == unix.EINVAL && !recursive {
		// has_locked_children() in fs/namespace.c
		return nil, errors.New("it has mounts below it, which a user namespace may not uncover; bind it recursively")
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Fstat(p.fd, &p.Stat); err != nil {
		unix.Close(p.fd)
		return nil, err
	}
	return p, nil
}

func openPath(dir int, name string) (int, error) {
	if name == "" {
		return unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	}
	return unix.Openat(dir, name, unix.O_PATH|unix.O_CLOEXEC, 0)
}

// Close gives the descriptor back. An attached mount stays.
func (p *Pinned) Close() { unix.Close(p.fd) }

// IsDir tells whether a directory was pinned.
func (p *Pinned) IsDir() bool { return p.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsDevice tells whether a device node was pinned.
func (p *Pinned) IsDevice() bool {
	kind := p.Stat.Mode & unix.S_IFMT
	return kind == unix.S_IFCHR || kind == unix.S_IFBLK
}

// Set restricts the pinned mount. Flags that the host's mount has and that are
// not named stay as they are: a user namespace may not lift them, and a remount
// that forgot one would be refused.
func (p *Pinned) Set(a Attributes) error {
	if a.empty() {
		return nil
	}
	if !p.copied {
		p.late = a
		return nil
	}
	err := setAttributes(p.fd, a, p.rec)
	if errors.Is(err, unix.ENOSYS) {
		p.late = a
		return nil
	}
	if err != nil {
		return fmt.Errorf("restrict %s: %w", p.source, err)
	}
	return nil
}

func setAttributes(fd int, a Attributes, recursive bool) error {
	rest := a
	rest.ReadOnly = a.ReadOnly && !a.OnlyTop
	if err := setattr(fd, rest, recursive); err != nil {
		return err
	}
	if a.ReadOnly && a.OnlyTop {
		return setattr(fd, Attributes{ReadOnly: true}, false)
	}
	return nil
}

func setattr(fd int, a Attributes, recursive bool) error {
	attr := a.kernel()
	if attr == (unix.MountAttr{}) {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(fd, "", flags, &attr)
	if err == unix.EPERM && attr.Attr_clr != 0 {
		return fmt.Errorf("the host mounted it with nosuid, nodev or noexec, which a user namespace may not lift: %w", err)
	}
	return err
}

func (a Attributes) kernel() (attr unix.MountAttr) {
	for _, f := range []struct {
		set, clear bool
		flag       uint64
	}{
		{a.ReadOnly, false, unix.MOUNT_ATTR_RDONLY},
		{a.NoSuid, a.Suid, unix.MOUNT_ATTR_NOSUID},
		{a.NoDev, a.Dev, unix.MOUNT_ATTR_NODEV},
		{a.NoExec, a.Exec, unix.MOUNT_ATTR_NOEXEC},
	} {
		if f.set {
			attr.Attr_set |= f.flag
		} else if f.clear {
			attr.Attr_clr |= f.flag
		}
	}
	return attr
}

// setattrOld is for kernels before 5.12. It reaches the top mount only, and only
// once that is attached; docker's read-only binds on such a kernel do the same.
func setattrOld(fd int, a Attributes, recursive bool) error {
	if a.ReadOnly && a.All && recursive {
		return errors.New("recursive read-only mounts need kernel 5.12")
	}
	path := fdPath(fd)
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	// ST_* and MS_* agree in these bits. Keep what is there: it may be locked.
	const kept = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
		unix.MS_NOATIME | unix.MS_NODIRATIME
	flags := uintptr(st.Flags) & kept
	if st.Flags&unix.ST_RELATIME != 0 {
		flags |= unix.MS_RELATIME
	}
	attr := a.kernel()
	flags |= uintptr(attr.Attr_set) // MOUNT_ATTR_* have the values of MS_*
	flags &^= uintptr(attr.Attr_clr) & kept
	return unix.Mount("", path, "", flags|unix.MS_BIND|unix.MS_REMOUNT, "")
}

// Attach mounts the pinned tree at target, a file for a file and a directory for
// a directory. Once only.
func (p *Pinned) Attach(target string) error {
	var err error
	if p.copied {
		err = unix.MoveMount(p.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	} else {
		err = unix.Mount(fdPath(p.fd), target, "", p.bindFlags(), "")
	}
	if err != nil {
		return fmt.Errorf("bind %s on %s: %w", p.source, target, err)
	}
	if p.late.empty() {
		return nil
	}
	if err := p.setLate(target); err != nil {
		_ = unix.Unmount(target, unix.MNT_DETACH) // never leave it less restricted than asked
		return fmt.Errorf("restrict %s: %w", p.source, err)
	}
	return nil
}

func (p *Pinned) bindFlags() uintptr {
	if p.rec {
		return unix.MS_BIND | unix.MS_REC
	}
	return unix.MS_BIND
}

func (p *Pinned) setLate(target string) error {
	fd, err := unix.Open(target, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = setAttributes(fd, p.late, p.rec)
	if errors.Is(err, unix.ENOSYS) {
		err = setattrOld(fd, p.late, p.rec)
	}
	return err
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
