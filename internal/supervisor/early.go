package supervisor

import (
	"path/filepath"

	"bryo/internal/trace"
	"bryo/rootfs/mount"
)

// prepareEarly does, while the ids are being mapped, what needs rights in the user
// namespace and no mapped id: the mounts of the run directory and of the container's
// root. What fails here is done again, and fails with its reason, at its proper time.
func (s *supervisor) prepareEarly() {
	s.mountRun()
	s.early, _ = mount.Detach(s.layers(), filepath.Join(s.dir(), "upper"), filepath.Join(s.dir(), "work"), s.overlayOptions())
	trace.Mark("root prepared")
}

func (s *supervisor) layers() []string {
	return mount.WithSkeleton(s.config.Image.Layers, s.containers.Skeleton())
}

func (s *supervisor) overlayOptions() mount.OverlayOptions {
	return mount.OverlayOptions{Volatile: s.config.Host.Remove}
}
