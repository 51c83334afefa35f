package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/network"
	"bryo/rootfs/etc"
	"bryo/rootfs/mount"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

// maps are the id maps of our user namespace, which the command has written, and the
// network namespace that can be made once they are there.
type maps struct {
	written chan struct{}
	err     error

	unwanted atomic.Bool // the container has no network namespace of its own
	taken    atomic.Bool
	made     chan struct{}
	network  *os.File // after made; nil if unwanted
	failed   error
}

// awaitMaps waits for them beside whatever comes next. The thread that does makes the
// network namespace, which is the next thing in a start's longest chain: made before, its
// files in /proc/net would belong to nobody.
func awaitMaps() *maps {
	m := &maps{written: make(chan struct{}), made: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // never unlocked: it ends in the new namespace
		m.err = userns.Ready()
		close(m.written)
		if m.err == nil && !m.unwanted.Load() {
			m.network, m.failed = network.UnshareNamespace()
		}
		close(m.made)
	}()
	return m
}

// pastMaps are those of a process that has them: a namespace is made when it is wanted.
func pastMaps() *maps {
	m := &maps{written: make(chan struct{}), made: make(chan struct{})}
	m.unwanted.Store(true)
	m.taken.Store(true)
	close(m.written)
	close(m.made)
	return m
}

func (m *maps) wait() error {
	<-m.written
	return m.err
}

// decline says that the network namespace is not needed.
func (m *maps) decline() {
	m.unwanted.Store(true)
	go func() {
		<-m.made
		m.network.Close()
	}()
}

// namespace hands out the network namespace: to the first run; the next ones make theirs.
func (m *maps) namespace() (*os.File, error) {
	if m.taken.Swap(true) {
		return network.NewNamespace()
	}
	<-m.made
	return m.network, cmp.Or(m.err, m.failed)
}

// beginEarly does in a forked supervisor what has to wait for orders, and for mapped ids
// at its end only: the mounts of the run directory and of the container's root. What fails here is
// done again, and fails with its reason, at its proper time.
func (s *supervisor) beginEarly(files []*os.File) error {
	if err := takeStdio(&s.start, files); err != nil {
		return err
	}
	detached := make(chan *mount.Detached, 1)
	err := s.enlist(func(c *state.Config) { // the container is new: nobody else has its root
		go func() {
			root, _ := mount.Detach(s.layers(c), filepath.Join(s.dir(), "upper"), filepath.Join(s.dir(), "work"), overlayOptions(c), s.mapped.wait)
			detached <- root
		}()
	})
	if err != nil {
		return err
	}
	s.beginWiring()
	s.mountRun()
	if s.early = <-detached; s.early != nil {
		s.foreseen, _ = s.foresee()
	}
	trace.Mark("root prepared")
	return nil
}

// errUnforeseen: the tree has to be mounted before it can be described.
var errUnforeseen = errors.New("unforeseen")

// foresee is the container's tree as it will be, for libcontainer's process to be
// started before it is mounted. What is mounted for the user depends on too much, and
// so does a user namespace below ours.
func (s *supervisor) foresee() (*tree, error) {
	h := s.config.Host
	if s.memory == "" || h.KeepID != nil || len(h.Mounts) > 0 || !s.early.HasFiles(etc.Places()) {
		return nil, errUnforeseen
	}
	s.plainPlaces = s.early.HasDirs([]string{"proc", "sys"})
	t := s.newTree()
	t.standard = s.standardMounts(t.dev)
	t.splitFresh()
	var err error
	if t.user, err = s.resolveUser(s.early.Path()); err != nil {
		return nil, err // said when the tree is there
	}
	if h.ReadOnly {
		t.jail, t.files = t.root, s.etcFiles()
	} else {
		t.jail = filepath.Join(s.runDir(), jailDir)
	}
	t.mounts = slices.Concat(t.standard, t.files)
	return t, nil
}

// launchForeseen starts libcontainer's process and mounts the tree while that comes up.
// Both have a mount namespace of their own: until the tree is complete, what is mounted
// in the run directory appears in both.
func (s *supervisor) launchForeseen(first *client) error {
	// libcontainer looks whether it is there.
	if err := os.MkdirAll(s.foreseen.jail, 0o755); err != nil {
		return fmt.Errorf("make container root: %w", err)
	}
	spec, err := s.spec(s.foreseen)
	if err != nil {
		return err
	}
	if err := s.spread(unix.MS_SHARED); err != nil {
		return err
	}
	// One of libcontainer's own, which it opens by its number at a time of its choice: the
	// network's may be closed by then, when it could not be attached, and the number be
	// another file's.
	var joined *os.File
	defer func() { joined.Close() }()
	namespace := func() (path string, err error) {
		if joined == nil {
			joined, err = s.wiring.share()
		}
		return namespacePath(joined), err
	}
	return s.run(first, s.start.Size, sandbox.Config{Spec: spec, Network: namespace, Plain: s.plain(), Ready: func() (sandbox.Filter, error) {
		if err := s.prepareTree(); err != nil {
			return sandbox.Filter{}, err
		}
		if err := s.furnish(s.tree); err != nil {
			return sandbox.Filter{}, err
		}
		if len(s.tree.mounts) != len(spec.Mounts) {
			return sandbox.Filter{}, errUnforeseen
		}
		if err := s.spread(unix.MS_PRIVATE | unix.MS_REC); err != nil {
			return sandbox.Filter{}, err
		}
		return s.filter(spec)
	}})
}

// plain: see sandbox.Config. The image's own layers may have anything in these places.
func (s *supervisor) plain() bool {
	release, err := linux.RunningRelease()
	return err == nil && !release.Before(5, 12) && s.plainPlaces
}

// spread sets whether what is mounted in the run directory appears in copies of this
// mount namespace.
func (s *supervisor) spread(flags uintptr) error {
	return os.NewSyscallError("mount run directory", unix.Mount("", s.memory, "", flags, ""))
}

func (s *supervisor) layers(c *state.Config) []string {
	return mount.WithSkeleton(c.Image.Layers, s.containers.Skeleton())
}

func overlayOptions(c *state.Config) mount.OverlayOptions {
	return mount.OverlayOptions{Volatile: c.Host.Remove}
}
