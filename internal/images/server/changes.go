package server

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/state"
	"bryo/internal/supervisor"
	"bryo/rootfs/archive"
	"bryo/rootfs/changes"
	"bryo/rootfs/files"
	"bryo/rootfs/image"
	"bryo/rootfs/store"
)

// changed lists what a container changed of its image.
func changed(ctx context.Context, r *role) (any, error) {
	a, err := args[images.ChangesArgs](r)
	if err != nil {
		return nil, err
	}
	c, err := state.Open(r.request.Root).Load(a.ID)
	if err != nil {
		return nil, err
	}
	result := images.ChangesResult{}
	err = changes.Walk(ctx, r.changesOf(c), func(change *changes.Change) error {
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

// changesOf finds the container's changes: in the overlay's upper directory, or
// where the host mounts none, in the tree that was copied for it.
func (r *role) changesOf(c *state.Config) changes.Source {
	dir := state.Open(r.request.Root).Path(c.ID)
	return changes.Source{Upper: filepath.Join(dir, "upper"), Whole: ownTree(dir), Layers: c.Image.Layers, Hidden: madeByStart}
}

// madeByStart recognises what a start puts into the tree.
func madeByStart(path string, st *unix.Stat_t, dir int, name string) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if !supervisor.Made(path, "") {
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
		return st.Size < 4096 && strings.HasPrefix(path, "/etc/") && supervisor.Made(path, contentOf(dir, name, st.Size))
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
func export(ctx context.Context, r *role) (any, error) {
	a, err := args[images.ExportArgs](r)
	if err != nil {
		return nil, err
	}
	c, err := state.Open(r.request.Root).Load(a.ID)
	if err != nil {
		return nil, err
	}
	var v *view
	if a.Running {
		v, err = r.view(c, true, false)
	} else {
		v, err = r.mountStopped(c, false, false)
	}
	if err != nil {
		return nil, err
	}
	defer v.close()
	return nil, files.Pack(ctx, os.Stdout, v.root, ".", idsOf(c).inside)
}

// commit makes an image of a container's changes.
func commit(ctx context.Context, r *role) (any, error) {
	a, err := args[images.CommitArgs](r)
	if err != nil {
		return nil, err
	}
	c, err := state.Open(r.request.Root).Load(a.ID)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	options := store.MakeOptions{
		Parent: c.Image.ID,
		Layer: func(out io.Writer) (bool, error) {
			return changes.Layer(ctx, r.changesOf(c), idsOf(c).inside, out)
		},
		Config: func(config *image.Config) error {
			adopt(config, c)
			config.Created, config.Author = now, a.Author
			return archive.Changes(config, a.Changes)
		},
		History: image.History{Created: now, CreatedBy: strings.Join(c.Process.Cmd, " "), Author: a.Author, Comment: a.Message},
	}
	if a.Reference != "" {
		options.Names = []string{a.Reference}
	}
	record, err := r.store.Make(ctx, options)
	if err != nil {
		return nil, err
	}
	return images.CommitResult{ID: record.ID}, nil
}

// adopt: the image runs as the container did.
func adopt(config *image.Config, c *state.Config) {
	p, h := c.Process, c.Host
	config.Env, config.Entrypoint, config.Cmd, config.WorkingDir = p.Env, p.Entrypoint, p.Cmd, p.WorkDir
	config.Labels, config.OnBuild = h.Labels, nil
	config.StopSignal, config.StopTimeout = h.StopSignal, h.StopTimeout
	if h.KeepID == nil {
		config.User = p.User
	}
	if h.Health != nil {
		config.Healthcheck = h.Health
	} else if config.Healthcheck != nil {
		config.Healthcheck = &image.Healthcheck{Test: []string{"NONE"}}
	}
}
