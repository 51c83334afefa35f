package trees

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/state"
	"bryo/rootfs/mount"
	"bryo/rootfs/mount/inroot"
	"bryo/rootfs/volume"
)

// openTree is a container's tree as it lies open to this role: a descriptor of its
// root, below which every path is looked up. The mounts behind it are in this
// process's own mount namespace and go with it.
type openTree struct {
	root    int
	release func() // the container's lock, if one is held
}

func (v *openTree) close() {
	unix.Close(v.root)
	if v.release != nil {
		v.release()
	}
}

// view opens the tree of a container: the running one's comes from its
// supervisor, a stopped one's is mounted here, its volumes and binds included.
func view(r *images.Request, c *state.Config, running, writable bool) (*openTree, error) {
	if running {
		root, err := unix.FcntlInt(images.TreeFile, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open container root: %w", err)
		}
		return &openTree{root: root}, nil
	}
	return mountStopped(r, c, writable, true)
}

// mountStopped mounts the root of a container that does not run. To be written
// to, it is mounted as the supervisor does it, under the container's lock: a
// start waits. Only to be read, it is a layer below a scratch one: nothing of it
// changes, it may even be started meanwhile, and nobody waits.
func mountStopped(r *images.Request, c *state.Config, writable, binds bool) (v *openTree, err error) {
	containers := state.Open(r.Root)
	dir := containers.Path(c.ID)
	v = &openTree{root: -1}
	if writable {
		if v.release, err = lockStopped(containers, c.ID); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			v.close()
			v = nil
		}
	}()
	scratch, err := scratchSpace(dir)
	if err != nil {
		return v, err
	}
	root := filepath.Join(scratch, "root")
	layers := mount.WithSkeleton(c.Image.Layers, containers.Skeleton())
	if err = mountLayers(layers, dir, scratch, root, writable); err != nil {
		return v, err
	}
	if v.root, err = unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return v, fmt.Errorf("open container root: %w", err)
	}
	if binds {
		err = attach(r, c, v.root, root, scratch)
	}
	if err == nil && writable && c.Host.ReadOnly {
		err = remountReadOnly(root)
	}
	return v, err
}

// lockStopped takes the container's lock and makes sure that it does not run.
func lockStopped(containers state.Dir, id string) (func(), error) {
	release, err := containers.Lock(id)
	if err != nil {
		return nil, err
	}
	status, err := containers.Status(id)
	if err == nil && (status.Supervisor.Alive() && status.Phase != state.Exited || status.Init.Alive()) {
		err = errors.New("container is being started, try again")
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// scratchSpace is memory that is mounted where the supervisor mounts the root:
// seen by this process alone, and gone with it.
func scratchSpace(dir string) (string, error) {
	place := filepath.Join(dir, "stage")
	if err := os.MkdirAll(place, 0o700); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return "", fmt.Errorf("mount scratch space: %w", err)
	}
	for _, name := range []string{"root", "upper", "work", "stage"} {
		if err := os.Mkdir(filepath.Join(place, name), 0o755); err != nil {
			return "", err
		}
	}
	return place, nil
}

func mountLayers(layers []string, dir, scratch, root string, writable bool) error {
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if own := ownTree(dir); own != "" {
		if err := unix.Mount(own, root, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount container root: %w", err)
		}
		return nil
	}
	if !writable {
		if _, err := os.Stat(upper); err == nil {
			layers = append([]string{upper}, layers...)
		}
		upper, work = filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
		if err := os.Remove(upper); err != nil { // gets the owner of the layer below
			return err
		}
	}
	err := mount.Overlay(root, layers, upper, work, mount.OverlayOptions{})
	if errors.Is(err, mount.ErrNoOverlay) {
		return errors.New("the host mounts no overlay, and the container was never started: start it first")
	}
	return err
}

// ownTree is the root that a start copied for the container where the host mounts
// no overlay; else empty.
func ownTree(dir string) string {
	own := filepath.Join(dir, "root")
	if entries, err := os.ReadDir(own); err != nil || len(entries) == 0 {
		return ""
	}
	return own
}

// attach mounts the container's binds and volumes into its tree. A source that is
// gone is left out: the other files can be copied all the same.
//
// A container that was never started has its new volumes filled from the image
// first, as its start would: what is copied in now must not keep that from happening.
func attach(r *images.Request, c *state.Config, root int, rootPath, scratch string) error {
	status, err := state.Open(r.Root).Status(c.ID)
	if err != nil {
		return err
	}
	source := volume.NewStore(r.Root).Source(rootPath, status.Started.IsZero())
	for i, m := range c.Host.Mounts {
		if m.Type == mount.Tmpfs {
			continue // empty while nothing runs
		}
		m.Chown, m.Relabel = false, ""
		staged, err := mount.Stage(filepath.Join(scratch, "stage", strconv.Itoa(i)), []mount.Mount{m}, mount.StageOptions{Volume: source})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if staged[0].Type != "bind" {
			continue
		}
		if err := attachAt(root, m.Target, staged[0].Source); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	return nil
}

func attachAt(root int, target, source string) error {
	var st unix.Stat_t
	if err := unix.Stat(source, &st); err != nil {
		return err
	}
	fd, err := inroot.Open(root, target, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) {
		fd, err = makeTarget(root, target, st.Mode&unix.S_IFMT == unix.S_IFDIR, maxLinks)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Mount(source, "/proc/self/fd/"+strconv.Itoa(fd), "", unix.MS_BIND|unix.MS_REC, "")
}

// maxLinks is how many links to nowhere may lead to each other, the kernel's own bound.
const maxLinks = 40

// makeTarget makes the place of a mount, as a start would: what a link names that
// leads to nowhere is made.
func makeTarget(root int, target string, isDir bool, links int) (int, error) {
	parent, err := inroot.Open(root, path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		parent, err = makeTarget(root, path.Dir(target), true, links)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	base := path.Base(target)
	if isDir {
		err = unix.Mkdirat(parent, base, 0o755)
	} else {
		err = unix.Mknodat(parent, base, unix.S_IFREG|0o644, 0)
	}
	if err == unix.EEXIST {
		if next, err := linkTarget(root, parent, base); err == nil {
			if links == 0 {
				return -1, unix.ELOOP
			}
			return makeTarget(root, next, isDir, links-1)
		}
	} else if err != nil {
		return -1, err
	}
	return unix.Openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// linkTarget is where a link in the directory parent leads, from the root.
func linkTarget(root, parent int, base string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(parent, base, buffer)
	if err != nil {
		return "", err
	}
	if link := string(buffer[:n]); path.IsAbs(link) {
		return path.Clean(link), nil
	}
	top, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(root))
	if err != nil {
		return "", err
	}
	dir, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(parent))
	if err != nil {
		return "", err
	}
	return path.Join("/", strings.TrimPrefix(dir, top), string(buffer[:n])), nil
}

func remountReadOnly(root string) error {
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount container root read-only: %w", err)
	}
	return nil
}
