package supervisor

import (
	"path/filepath"

	"bryo/internal/trace"
	"bryo/rootfs/mount"
)

// early is what a forked supervisor makes while its ids are being mapped.
type early struct {
	root *mount.Detached // nil: mountRoot does it all
}

// prepareEarly does what needs rights in the user namespace and no mapped id: the
// mounts of the run directory and of the container's root. What fails here is done
// again, and fails with its reason, at its proper time.
func (s *supervisor) prepareEarly() {
	s.mountRun()
	s.early.root, _ = mount.Detach(s.layers(), filepath.Join(s.dir(), "upper"), filepath.Join(s.dir(), "work"), s.overlayOptions())
	trace.Mark("root prepared")
}

func (s *supervisor) layers() []string {
	return mount.WithSkeleton(s.config.Image.Layers, s.containers.Skeleton())
}

func (s *supervisor) overlayOptions() mount.OverlayOptions {
	return mount.OverlayOptions{Volatile: s.config.Host.Remove}
}

// take hands the root out once.
func (e *early) take() *mount.Detached {
	root := e.root
	e.root = nil
	return root
}
