package trees

import (
	"context"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
	"bryo/rootfs/changes"
	"bryo/rootfs/mount/tree"
	"bryo/rootfs/volume"
)

// usage measures what containers wrote and volumes hold: here every folder can be
// read, whoever of the container's ids closed it to others.
func usage(ctx context.Context, r *images.Request) (any, error) {
	a, err := serving.Args[images.UsageArgs](r)
	if err != nil {
		return nil, err
	}
	result := images.UsageResult{Containers: map[string]int64{}, Volumes: map[string]int64{}}
	for _, id := range a.Containers {
		if state.IsID(id) {
			result.Containers[id] = writtenSize(ctx, r, id)
		}
	}
	for _, name := range a.Volumes {
		if v, err := volume.NewStore(r.Root).Get(name); err == nil {
			result.Volumes[name] = int64(v.Size())
		}
	}
	return result, nil
}

// writtenSize is what a container wrote. Where its image was copied for it, that is
// what differs from the image.
func writtenSize(ctx context.Context, r *images.Request, id string) (size int64) {
	dir := state.Open(r.Root).Path(id)
	if ownTree(dir) == "" {
		return upperSize(dir)
	}
	c, err := state.Open(r.Root).Load(id)
	if err != nil {
		return 0
	}
	type inode struct{ device, number uint64 }
	seen := map[inode]bool{}
	// What cannot be read does not count.
	_ = changes.Walk(ctx, ChangesOf(r.Root, c), func(change *changes.Change) error {
		st := &change.Stat
		file := inode{st.Dev, st.Ino}
		if change.Kind == changes.Deleted || st.Mode&unix.S_IFMT == unix.S_IFDIR || seen[file] {
			return nil
		}
		seen[file] = true
		size += st.Size
		return nil
	})
	return size
}

func upperSize(dir string) int64 {
	fd, err := unix.Open(filepath.Join(dir, "upper"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	return int64(tree.Size(fd))
}
