package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// nodes are the devices every container has. The numbers are checked: a /dev/null
// that is something else would receive what programs throw away
// (CVE-2025-31133 is that trick from the other side).
var nodes = [...]struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7},
	{"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

var devLinks = [...]struct{ name, target string }{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
}

// devDirs are what the runtime mounts devpts, shm and mqueue on.
var devDirs = [...]string{"pts", "shm", "mqueue"}

// devOptions: nothing in /dev holds data, so it gets no room to hoard any.
const devOptions = "mode=755,size=64k,nr_inodes=4096"

// Dev mounts a complete /dev at target, made when missing: a small tmpfs with the
// host's harmless nodes bound in, the usual links, and the directories that the
// runtime mounts on. extra are added to it; those whose place is not below /dev
// must be mounted by Device.Mount instead.
//
// Runs in the supervisor. Give target to the runtime as one recursive bind on
// /dev: it makes no node itself then.
func Dev(target string, extra []Device) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_STRICTATIME)
	if err := unix.Mount("tmpfs", target, "tmpfs", flags, devOptions); err != nil {
		return fmt.Errorf("mount /dev on %s: %w", target, err)
	}
	dir, err := unix.Open(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount /dev on %s: %w", target, err)
	}
	defer unix.Close(dir)
	if err := fillDev(dir, target); err != nil {
		return fmt.Errorf("fill /dev: %w", err)
	}
	for _, d := range extra {
		if err := addDevice(dir, target, d); err != nil {
			return d.refused(err)
		}
	}
	return nil
}

// Check refuses what is no device node. Dev does that for those below /dev; elsewhere
// a device is a bind mount, and would hand in any file or folder.
func (d Device) Check() error {
	var st unix.Stat_t
	if err := unix.Stat(d.Host, &st); err != nil {
		return d.refused(err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return d.refused(errors.New("not a device node"))
	}
	return nil
}

func (d Device) refused(cause error) error {
	return fmt.Errorf("error gathering device information while adding custom device %q: %w", d.Host, cause)
}

func fillDev(dir int, target string) error {
	for _, n := range nodes {
		if err := unix.Mknodat(dir, n.name, unix.S_IFREG|0o666, 0); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		if err := unix.Mount("/dev/"+n.name, target+"/"+n.name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind /dev/%s: %w", n.name, err)
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dir, n.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || uint64(st.Rdev) != unix.Mkdev(n.major, n.minor) {
			return fmt.Errorf("/dev/%s of this host is not device %d:%d", n.name, n.major, n.minor)
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l.target, dir, l.name); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	for _, name := range devDirs {
		if err := mkdirOpen(dir, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// mkdirOpen makes a directory that everybody may enter, whatever the umask is.
func mkdirOpen(dir int, name string) error {
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return err
	}
	return unix.Fchmodat(dir, name, 0o755, 0)
}

// addDevice binds one device, or every device node in a directory.
func addDevice(dir int, target string, d Device) error {
	p, err := Pin(d.Host, false)
	if err != nil {
		return plainCause(err)
	}
	defer p.Close()
	if p.IsDevice() {
		return placeDevice(dir, target, d.Container, p)
	}
	if !p.IsDir() {
		return errors.New("not a device node")
	}
	found, err := devicesIn(d)
	if err != nil {
		return err
	}
	for _, each := range found {
		if err := addDevice(dir, target, each); err != nil {
			return fmt.Errorf("%s: %w", each.Host, err)
		}
	}
	return nil
}

// maxDevices bounds a walk that starts in the wrong directory.
const maxDevices = 4096

func devicesIn(d Device) (found []Device, err error) {
	seen := 0
	err = filepath.WalkDir(d.Host, func(name string, entry fs.DirEntry, err error) error {
		if seen++; seen > maxDevices {
			return fmt.Errorf("more than %d files in it", maxDevices)
		}
		if err != nil {
			return nil // a subdirectory that we may not read has no device for us
		}
		// Not the entry's own type: it does not see a node bound over a file.
		if info, err := entry.Info(); err == nil && info.Mode()&fs.ModeDevice != 0 {
			rel := strings.TrimPrefix(name, d.Host)
			found = append(found, Device{name, path.Join(d.Container, rel), d.Access})
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = errors.New("not a device node")
	}
	return found, err
}

// placeDevice attaches p at its place in the new /dev. The way there is opened
// without leaving the tmpfs: nothing is ever created in a bound host directory.
func placeDevice(dir int, target, container string, p *Pinned) error {
	rel := strings.TrimPrefix(container, "/dev/")
	parent, err := mkdirs(dir, path.Dir(rel))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	name := path.Base(rel)
	if err := unix.Mknodat(parent, name, unix.S_IFREG|0o666, 0); err != nil && err != unix.EEXIST {
		return err
	}
	return p.Attach(fdPath(parent) + "/" + name)
}

func mkdirs(dir int, rel string) (int, error) {
	at, err := inroot.BelowMount(dir, ".", unix.O_PATH|unix.O_DIRECTORY)
	for part := range strings.SplitSeq(rel, "/") {
		if err != nil || part == "." {
			break
		}
		if err = mkdirOpen(at, part); err == unix.EEXIST {
			err = nil
		}
		var next int
		if err == nil {
			next, err = inroot.BelowMount(at, part, unix.O_PATH|unix.O_DIRECTORY)
		}
		unix.Close(at)
		at = next
	}
	return at, err
}

// InDev tells whether the device shows below /dev, where Dev puts it.
func (d Device) InDev() bool { return strings.HasPrefix(d.Container, "/dev/") }

// Mount is the plan's mount for a device whose place is not below /dev.
func (d Device) Mount() Mount { return Mount{Type: Bind, Source: d.Host, Target: d.Container} }

// plainCause takes the names off an error whose caller names the object itself.
func plainCause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
