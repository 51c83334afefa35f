package trees

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
	"bryo/rootfs/changes"
	"bryo/rootfs/etc"
	"bryo/rootfs/files"
)

// changed lists what a container changed of its image.
func changed(ctx context.Context, r *images.Request) (any, error) {
	a, err := serving.Args[images.ChangesArgs](r)
	if err != nil {
		return nil, err
	}
	c, err := state.Open(r.Root).Load(a.ID)
	if err != nil {
		return nil, err
	}
	result := images.ChangesResult{}
	err = changes.Walk(ctx, ChangesOf(r.Root, c), func(change *changes.Change) error {
		letter := change.Kind
		if letter == changes.Replaced {
			letter = changes.Changed
		}
		result.Changes = append(result.Changes, images.Change{Kind: string(letter), Path: change.Path})
		return nil
	})
	slices.SortFunc(result.Changes, func(a, b images.Change) int { return cmp.Compare(a.Path, b.Path) })
	return result, err
}

// ChangesOf finds the container's changes: in the overlay's upper directory, or
// where the host mounts none, in the tree that was copied for it.
func ChangesOf(root string, c *state.Config) changes.Source {
	dir := state.Open(root).Path(c.ID)
	return changes.Source{Upper: filepath.Join(dir, "upper"), Whole: ownTree(dir), Layers: c.Image.Layers, Hidden: madeByStart}
}

// madeByStart recognises what a start puts into the tree.
func madeByStart(path string, st *unix.Stat_t, dir int, name string) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if !etc.Made(path, "") {
			return false
		}
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		names, err := files.List(fd)
		return err == nil && len(names) == 0
	case unix.S_IFREG:
		return st.Size < 4096 && strings.HasPrefix(path, "/etc/") && etc.Made(path, contentOf(dir, name, st.Size))
	}
	return false
}

func contentOf(dir int, name string, size int64) string {
	if size == 0 {
		return ""
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "unreadable"
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, size))
	return string(text)
}

// export writes a container's tree without its mounts as an archive.
func export(ctx context.Context, r *images.Request) (any, error) {
	a, err := serving.Args[images.ExportArgs](r)
	if err != nil {
		return nil, err
	}
	c, err := state.Open(r.Root).Load(a.ID)
	if err != nil {
		return nil, err
	}
	var v *openTree
	if a.Running {
		v, err = view(r, c, true, false)
	} else {
		v, err = mountStopped(r, c, false, false)
	}
	if err != nil {
		return nil, err
	}
	defer v.close()
	return nil, files.Pack(ctx, os.Stdout, v.root, ".", idsOf(c).inside)
}
