package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// ErrNoOverlay: this host, or this filesystem, mounts no overlay for us. CopyTree
// makes the same tree without it.
var ErrNoOverlay = errors.New("overlay mounts are not possible here")

// MaxLayers is how many lower directories the kernel joins (OVL_MAX_STACK in
// fs/overlayfs/params.h).
const MaxLayers = 500

// maxString is what fsconfig(2) takes as one string, its final NUL included.
const maxString = 256

// OverlayOptions are the choices of Overlay.
type OverlayOptions struct {
	// Volatile leaves out every fsync. For trees that are thrown away (--rm):
	// after a crash of the host the upper directory must not be used again.
	Volatile bool
	// ReadOnly mounts lower alone; upper and work stay unused.
	ReadOnly bool
}

// Overlay mounts the layer directories lower (topmost first, 1 to MaxLayers) with
// upper on top at target, in the mount namespace of the caller. target, upper and
// work are made when missing; a new upper gets owner and mode of the topmost
// layer, because the kernel shows them as those of "/".
//
// Runs in the supervisor. errors.Is(err, ErrNoOverlay) means: use CopyTree.
func Overlay(target string, lower []string, upper, work string, o OverlayOptions) error {
	if err := checkLayers(lower); err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("mount overlay on %s: %w", target, err)
	}
	if o.ReadOnly && len(lower) == 1 {
		return bindReadOnly(lower[0], target) // overlay wants two directories at least
	}
	l := layers{lower: lower, Volatile: o.Volatile, userXattr: inUserNamespace()}
	made := false
	if !o.ReadOnly {
		l.upper, l.work = upper, work
		var err error
		if made, err = l.makeUpper(); err != nil {
			return err
		}
	}
	err := l.mount(target)
	if err == nil && made {
		err = adopt(target, lower[0])
	}
	if err != nil {
		return fmt.Errorf("mount overlay on %s: %w", target, err)
	}
	return nil
}

// Detached is a writable overlay that is ready and mounted nowhere yet.
type Detached struct {
	fd   int
	made bool // the upper directory is new
	top  string
}

// Detach is the first part of Overlay. It may be called before the ids of the
// caller's user namespace are mapped, which mapped waits for; Attach may not. After an
// error everything is as before, and Overlay says why if it fails too.
func Detach(lower []string, upper, work string, o OverlayOptions, mapped func() error) (*Detached, error) {
	if err := checkLayers(lower); err != nil {
		return nil, err
	}
	l := layers{lower: lower, upper: upper, work: work, Volatile: o.Volatile, userXattr: inUserNamespace()}
	made, err := l.makeUpper()
	if err != nil {
		return nil, err
	}
	fd, err := l.detached(mapped)
	if err != nil {
		if made {
			_ = os.Remove(upper) // the next one gives it its owner
		}
		return nil, err
	}
	return &Detached{fd, made, lower[0]}, nil
}

// Attach mounts it at target, which is made when missing, and ends its use.
func (d *Detached) Attach(target string) error {
	defer unix.Close(d.fd)
	err := os.MkdirAll(target, 0o755)
	if err == nil {
		err = unix.MoveMount(d.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err == nil && d.made {
		err = adopt(target, d.top)
	}
	if err != nil {
		return fmt.Errorf("mount overlay on %s: %w", target, err)
	}
	return nil
}

// Path leads to its root as long as it is not attached.
func (d *Detached) Path() string { return fdPath(d.fd) }

// HasFiles says whether all of them are there for BindFile.
func (d *Detached) HasFiles(names []string) bool {
	for _, name := range names {
		place, err := filePlace(d.fd, name)
		if err != nil {
			return false
		}
		unix.Close(place)
	}
	return true
}

// HasDirs says whether its root has directories of all these names.
func (d *Detached) HasDirs(names []string) bool {
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return false
		}
	}
	return true
}

func checkLayers(lower []string) error {
	if len(lower) == 0 {
		return errors.New("mount overlay: the image has no layers")
	}
	if len(lower) > MaxLayers {
		return fmt.Errorf("mount overlay: %d layers, the kernel joins %d at most", len(lower), MaxLayers)
	}
	return nil
}

// makeUpper makes what is missing of the writable part, and says whether upper was.
func (l *layers) makeUpper() (made bool, err error) {
	if err := os.Mkdir(l.work, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	err = os.Mkdir(l.upper, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// adopt gives the root of a new overlay, mounted at target, owner and mode of its
// topmost layer.
func adopt(target, top string) error {
	var want, have unix.Stat_t
	if err := unix.Stat(top, &want); err != nil {
		return fmt.Errorf("layer %s: %w", top, err)
	}
	if err := unix.Stat(target, &have); err != nil {
		return err
	}
	if have.Uid != want.Uid || have.Gid != want.Gid {
		// EINVAL: an owner outside the map; the caller's own is the best there is.
		if err := unix.Chown(target, int(want.Uid), int(want.Gid)); err != nil && err != unix.EINVAL {
			return fmt.Errorf("chown: %w", err)
		}
	}
	if have.Mode == want.Mode {
		return nil
	}
	return unix.Chmod(target, want.Mode&0o7777)
}

// ForgetVolatile lets the upper directory that belongs to work be mounted again
// after a volatile mount. Only for callers that know that the host did not
// crash since (same boot): the kernel refuses it otherwise, and rightly so.
func ForgetVolatile(work string) error {
	err := os.RemoveAll(filepath.Join(work, "work", "incompat"))
	if err != nil {
		return fmt.Errorf("forget volatile mount: %w", err)
	}
	return nil
}

// inUserNamespace: the initial user namespace has a fixed inode number
// (PROC_USER_INIT_INO, since kernel 3.8). One stat, no file to read.
func inUserNamespace() bool {
	const initial = 0xEFFFFFFD
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/user", &st) == nil && st.Ino != initial
}

// layers is one overlay to be mounted, as data.
type layers struct {
	lower       []string
	upper, work string
	Volatile    bool
	userXattr   bool // overlay's marks are in user.*: the only ones a user namespace may read
}

func (l *layers) mount(target string) error {
	fd, err := l.detached(already)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		// The old call says the same in one string.
		if old := l.mountOld(target); old == nil || errors.Is(err, unix.ENOSYS) {
			return old
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// detached makes the mount with the calls of kernel 5.2 (fsopen, fsconfig,
// fsmount) and returns its descriptor. They take one layer per call, so that
// neither the number of layers nor a ':' or ',' in a path matters.
func (l *layers) detached(mapped func() error) (int, error) {
	// Kernels before 6.5 know no lowerdir+, and complain of it in their log.
	if r, err := linux.RunningRelease(); err == nil && r.Before(6, 5) {
		return -1, unix.EINVAL
	}
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err == unix.ENODEV || err == unix.EPERM {
		return -1, fmt.Errorf("%w: fsopen: %w", ErrNoOverlay, err)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(ctx)
	if err := l.configure(ctx); err != nil {
		return -1, err
	}
	// The kernel makes files in work, which a user without an id may not.
	if err := mapped(); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, refusal(err, reason(ctx))
	}
	return unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, 0)
}

// already: the ids are mapped.
func already() error { return nil }

func (l *layers) configure(ctx int) error {
	for _, dir := range l.lower {
		if err := setPath(ctx, "lowerdir+", dir); err != nil {
			return err
		}
	}
	if l.upper != "" {
		if err := setPath(ctx, "upperdir", l.upper); err != nil {
			return err
		}
		if err := setPath(ctx, "workdir", l.work); err != nil {
			return err
		}
	}
	for _, flag := range l.flags() {
		if err := unix.FsconfigSetFlag(ctx, flag); err != nil {
			return fmt.Errorf("option %s: %w", flag, err)
		}
	}
	return nil
}

func (l *layers) flags() (flags []string) {
	if l.userXattr {
		flags = append(flags, "userxattr")
	}
	if l.Volatile && l.upper != "" {
		flags = append(flags, "volatile")
	}
	return flags
}

// setPath hands one directory to the kernel. A path that is too long for a
// string, or that holds what the kernel unescapes in some options, goes as the
// name of a descriptor.
func setPath(ctx int, key, dir string) error {
	name := dir
	if len(dir) >= maxString || strings.ContainsAny(dir, `\:,`) {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &fs.PathError{Op: "layer", Path: dir, Err: err}
		}
		defer unix.Close(fd)
		name = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	if err := unix.FsconfigSetString(ctx, key, name); err != nil {
		why := reason(ctx)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.EACCES {
			return &fs.PathError{Op: "layer", Path: dir, Err: err}
		}
		return fmt.Errorf("%s=%s: %w", key, dir, refusal(err, why))
	}
	return nil
}

// reason reads what the kernel wrote into the context about a refusal: lines
// like "e overlay: upper fs does not support tmpfile". Read before it is closed.
func reason(ctx int) string {
	var lines []string
	buf := make([]byte, 1024)
	for range 16 {
		n, err := unix.Read(ctx, buf)
		if err != nil || n <= 0 {
			break
		}
		line := strings.TrimSpace(string(buf[:n]))
		if len(line) > 2 && line[1] == ' ' {
			line = strings.TrimPrefix(line[2:], "overlay: ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// refusal joins errno and reason. A filesystem that cannot carry an overlay
// answers EINVAL or EPERM only when the mount is made.
func refusal(err error, why string) error {
	if why != "" {
		err = fmt.Errorf("%w (%s)", err, why)
	}
	if errors.Is(err, unix.EPERM) || strings.Contains(why, "not supported as upperdir") ||
		strings.Contains(why, "filesystem on") {
		return fmt.Errorf("%w: %w", ErrNoOverlay, err)
	}
	return err
}

// bindReadOnly shows one layer as it is.
func bindReadOnly(layer, target string) error {
	p, err := Pin(layer, false)
	if err != nil {
		return fmt.Errorf("mount layer on %s: %w", target, err)
	}
	defer p.Close()
	if err := p.Set(Attributes{ReadOnly: true}); err != nil {
		return fmt.Errorf("mount layer on %s: %w", target, err)
	}
	if err := p.Attach(target); err != nil {
		return fmt.Errorf("mount layer on %s: %w", target, err)
	}
	return nil
}
