package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/rootfs/etc"
	"bryo/rootfs/mount"
	"bryo/rootfs/user"
	"bryo/rootfs/volume"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

// Folders in the container's directory, and mount points in its run directory.
const (
	runDir  = "run"
	copyDir = "root" // the image's files where there is no overlay

	rootDir  = "root"
	jailDir  = "jail"
	devDir   = "dev"
	stageDir = "stage"
)

// tree is the container's file system, mounted and resolved.
type tree struct {
	root string
	user user.User
	// What libcontainer gets: root, or a copy of its mount that has the files of /etc on
	// it already, and what is left to be mounted.
	jail   string
	mounts []specs.Mount

	standard, files, own []specs.Mount

	fresh []specs.Mount // mounted below dev, new ones for each run
	dev   string
}

// newTree is where the tree goes.
func (s *supervisor) newTree() *tree {
	return &tree{root: filepath.Join(s.runDir(), rootDir), dev: filepath.Join(s.runDir(), devDir)}
}

// prepareTree mounts the tree, which serves all runs of this process.
func (s *supervisor) prepareTree() (err error) {
	if s.tree, err = s.mountTree(); err != nil {
		return err
	}
	s.forbidNamespaces()
	trace.Mark("tree mounted")
	return nil
}

// mountTree mounts the container's root and prepares all that goes below it, in
// this process's mount namespace: it is gone with the process.
func (s *supervisor) mountTree() (*tree, error) {
	t := s.newTree()
	var beside errgroup.Group // none of these looks at the root
	beside.Go(func() error { return s.prepareStandard(t) })
	err := s.fillRoot(t)
	if err := cmp.Or(err, beside.Wait()); err != nil {
		return nil, err
	}
	t.files = withoutTargets(s.etcFiles(), s.config.Host.Mounts)
	t.own, err = s.stage(t)
	return t, err
}

// fillJail mounts the files of /etc where libcontainer would: for each of its mounts
// it takes twenty system calls, one after the other, in a start's longest chain. Once
// for each start, as they are new files then.
func (s *supervisor) fillJail(t *tree) error {
	t.jail = t.root
	files := t.files
	// The places of a user namespace below ours are its own business.
	if s.config.Host.KeepID == nil && !s.config.Host.ReadOnly {
		jail := filepath.Join(s.runDir(), jailDir)
		_ = unix.Unmount(jail, unix.MNT_DETACH)
		left, err := bindFiles(t.root, jail, files)
		if err != nil {
			return err
		}
		t.jail, files = jail, left
	}
	t.mounts = slices.Concat(t.standard, files, t.own)
	return nil
}

// bindFiles makes jail the same tree as root with files mounted in it, and returns
// those that need more than a file to be mounted on.
func bindFiles(root, jail string, files []specs.Mount) (left []specs.Mount, err error) {
	if err := os.MkdirAll(jail, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount(root, jail, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("mount container root: %w", err)
	}
	fd, err := unix.Open(jail, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open container root: %w", err)
	}
	defer unix.Close(fd)
	for _, m := range files {
		err := mount.BindFile(fd, m.Source, m.Destination)
		if errors.Is(err, mount.ErrNoPlace) {
			left = append(left, m)
		} else if err != nil {
			return nil, err
		}
	}
	return left, nil
}

// fillRoot mounts the image and finds the user in it.
func (s *supervisor) fillRoot(t *tree) (err error) {
	if err = s.mountRoot(t); err != nil {
		return err
	}
	if err = s.adaptImage(t.root); err != nil {
		return err
	}
	if s.foreseen != nil {
		t.user = s.foreseen.user
		return nil
	}
	t.user, err = s.resolveUser(t.root)
	return err
}

// mountRun keeps libcontainer's record of the container and the places to mount on
// off the disk. Nobody else reads them, and they are of no use once this process is
// gone. A kernel that refuses the mount keeps them on the disk.
func (s *supervisor) mountRun() {
	if s.memory != "" {
		return // early
	}
	// One place for all: each has its own mount there, in its own mount namespace.
	place := s.containers.Run()
	err := os.Mkdir(place, 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = unix.Mount("bryo-run", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700,size=4m")
	}
	if err == nil {
		s.memory = place
		return
	}
	_ = os.MkdirAll(s.runDir(), 0o700)
}

// mountRoot joins the image's layers and the container's own on top. Where the
// kernel mounts no overlay for us, the same tree is made by copying.
func (s *supervisor) mountRoot(t *tree) error {
	dir := s.dir()
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if s.early != nil {
		return s.early.Attach(t.root)
	}
	err := mount.Overlay(t.root, s.layers(s.config), upper, work, overlayOptions(s.config))
	if !errors.Is(err, mount.ErrNoOverlay) {
		return err
	}
	fmt.Fprintln(os.Stderr, "bryo: no overlay mounts here: copying the image's files instead (bryo doctor has the cure)")
	t.root = filepath.Join(dir, copyDir)
	if err := os.MkdirAll(t.root, 0o755); err != nil {
		return fmt.Errorf("copy image: %w", err)
	}
	return mount.CopyTree(t.root, s.config.Image.Layers)
}

func (s *supervisor) resolveUser(root string) (user.User, error) {
	c := s.config
	return user.Resolve(user.Request{
		Rootfs: root, User: c.Process.User, Groups: c.Process.Groups,
		UIDs: mapped(c.Mapping.UIDs), GIDs: mapped(c.Mapping.GIDs),
	})
}

// mapped counts the ids from 0 up.
func mapped(ranges []userns.Range) (count uint32) {
	for _, r := range ranges {
		count = max(count, r.Inside+r.Count)
	}
	return count
}

// prepareStandard makes /dev, with what can be mounted there here.
func (s *supervisor) prepareStandard(t *tree) error {
	if err := s.prepareDev(t.dev); err != nil {
		return err
	}
	if s.foreseen != nil {
		t.standard, t.fresh = s.foreseen.standard, s.foreseen.fresh
		return t.mountFresh()
	}
	t.standard = s.standardMounts(t.dev)
	if s.config.Host.KeepID != nil || mount.Find(s.config.Host.Mounts, "/dev") != nil {
		return nil
	}
	t.splitFresh()
	return t.mountFresh()
}

// splitFresh takes out of the standard mounts what is mounted below dev for each run.
func (t *tree) splitFresh() {
	left := t.standard[:0]
	for _, m := range t.standard {
		if m.Type == "devpts" || m.Type == "tmpfs" && m.Destination == "/dev/shm" {
			t.fresh = append(t.fresh, m)
		} else {
			left = append(left, m)
		}
	}
	t.standard = left
}

// mountFresh mounts what no run leaves to the next one.
func (t *tree) mountFresh() error {
	for _, m := range t.fresh {
		at := filepath.Join(t.dev, filepath.Base(m.Destination))
		_ = unix.Unmount(at, unix.MNT_DETACH) // the last run's
		if err := mount.Place(at, m); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) prepareDev(dev string) error {
	if err := os.MkdirAll(dev, 0o755); err != nil {
		return err
	}
	var inside []mount.Device
	for _, device := range s.config.Host.Devices {
		if device.InDev() {
			inside = append(inside, device) // the others are mounts of the plan
		}
	}
	return mount.Dev(dev, inside)
}

// etcFiles are the mounts of what writeEtc writes once the network is known.
func (s *supervisor) etcFiles() []specs.Mount {
	return etc.Mounts(s.dir(), s.config.Host.ReadOnly)
}

// withoutTargets leaves out what the user mounts over himself.
func withoutTargets(mounts []specs.Mount, plan []mount.Mount) []specs.Mount {
	kept := mounts[:0]
	for _, m := range mounts {
		if mount.Find(plan, m.Destination) == nil {
			kept = append(kept, m)
		}
	}
	return kept
}

// stage makes the user's binds, volumes and tmpfs ready for the runtime.
func (s *supervisor) stage(t *tree) ([]specs.Mount, error) {
	if len(s.config.Host.Mounts) == 0 {
		return nil, nil
	}
	dir := filepath.Join(s.runDir(), stageDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	firstStart := s.status.Started.IsZero()
	return mount.Stage(dir, s.config.Host.Mounts, mount.StageOptions{
		UID: t.user.UID, GID: t.user.GID,
		Volume: volume.NewStore(s.start.Root).Source(t.root, firstStart),
	})
}

// inMapping: the container has this id.
func inMapping(ranges []userns.Range, id uint32) bool {
	for _, r := range ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return true
		}
	}
	return false
}

// owner is the id that the invoking user has inside: his files, standard output
// among them, must not change hands.
func owner(c *state.Config) sandbox.Owner {
	if c.Host.KeepID == nil {
		return sandbox.Owner{}
	}
	return sandbox.Owner{UID: c.Host.KeepID.UID, GID: c.Host.KeepID.GID}
}
