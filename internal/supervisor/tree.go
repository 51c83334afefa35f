package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/rootfs/etc"
	"bryo/rootfs/mount"
	"bryo/rootfs/user"
	"bryo/rootfs/volume"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

// Mount points and folders in the container's directory.
const (
	rootDir  = "root"
	devDir   = "dev"
	stageDir = "stage"
	runDir   = "run"
	etcDir   = "etc"
)

// tree is the container's file system, mounted and resolved.
type tree struct {
	root   string
	mounts []specs.Mount
	user   user.User
}

// mountTree mounts the container's root and prepares all that goes below it, in
// this process's mount namespace: it is gone with the process.
func (s *supervisor) mountTree() (*tree, error) {
	t := &tree{root: filepath.Join(s.dir(), rootDir)}
	var dev string
	var files []specs.Mount
	var beside errgroup.Group // none of these looks at the root
	beside.Go(func() (err error) { dev, err = s.prepareDev(); return err })
	beside.Go(func() (err error) { files, err = s.etcFiles(); return err })
	err := s.fillRoot(t)
	if err := cmp.Or(err, beside.Wait()); err != nil {
		return nil, err
	}
	own, err := s.stage(t)
	if err != nil {
		return nil, err
	}
	t.mounts = append(s.standardMounts(dev), withoutTargets(files, s.config.Host.Mounts)...)
	t.mounts = append(t.mounts, own...)
	return t, nil
}

// fillRoot mounts the image and finds the user in it.
func (s *supervisor) fillRoot(t *tree) (err error) {
	if err = s.mountRoot(t.root); err != nil {
		return err
	}
	if err = s.adaptImage(t.root); err != nil {
		return err
	}
	t.user, err = s.resolveUser(t.root)
	return err
}

// mountRun keeps libcontainer's record of the container off the disk. Nobody else
// reads it, and it is of no use once this process is gone. A kernel that refuses the
// mount keeps it on the disk.
func (s *supervisor) mountRun() {
	if os.MkdirAll(s.runDir(), 0o700) == nil {
		_ = unix.Mount("bryo-run", s.runDir(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700,size=4m")
	}
}

// mountRoot joins the image's layers and the container's own on top. Where the
// kernel mounts no overlay for us, the same tree is made by copying.
func (s *supervisor) mountRoot(root string) error {
	dir, layers := s.dir(), s.config.Image.Layers
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	err := mount.Overlay(root, layers, upper, work, mount.OverlayOptions{Volatile: s.config.Host.Remove})
	if !errors.Is(err, mount.ErrNoOverlay) {
		return err
	}
	fmt.Fprintln(os.Stderr, "bryo: no overlay mounts here: copying the image's files instead (bryo doctor has the cure)")
	return mount.CopyTree(root, layers)
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

func (s *supervisor) prepareDev() (string, error) {
	dev := filepath.Join(s.dir(), devDir)
	if err := os.MkdirAll(dev, 0o755); err != nil {
		return "", err
	}
	var inside []mount.Device
	for _, device := range s.config.Host.Devices {
		if device.InDev() {
			inside = append(inside, device) // the others are mounts of the plan
		}
	}
	return dev, mount.Dev(dev, inside)
}

// etcFiles are the mounts of what writeEtc writes once the network is known.
func (s *supervisor) etcFiles() ([]specs.Mount, error) {
	dir := s.etcDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return etc.Mounts(dir, s.config.Host.ReadOnly), nil
}

func (s *supervisor) etcDir() string { return filepath.Join(s.dir(), etcDir) }

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
	dir := filepath.Join(s.dir(), stageDir)
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
