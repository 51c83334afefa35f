package server

import (
	"context"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/state"
	"bryo/rootfs/mount/tree"
	"bryo/rootfs/volume"
)

// usage measures what containers wrote and volumes hold: here every folder can be
// read, whoever of the container's ids closed it to others.
func usage(_ context.Context, r *role) (any, error) {
	a, err := args[images.UsageArgs](r)
	if err != nil {
		return nil, err
	}
	result := images.UsageResult{Containers: map[string]int64{}, Volumes: map[string]int64{}}
	for _, id := range a.Containers {
		if state.IsID(id) {
			result.Containers[id] = upperSize(state.Open(r.request.Root).Path(id))
		}
	}
	for _, name := range a.Volumes {
		if v, err := volume.NewStore(r.request.Root).Get(name); err == nil {
			result.Volumes[name] = int64(v.Size())
		}
	}
	return result, nil
}

func upperSize(dir string) int64 {
	fd, err := unix.Open(filepath.Join(dir, "upper"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	return int64(tree.Size(fd))
}
