package server

import (
	"context"
	"io"
	"strings"
	"time"

	"bryo/internal/images"
	"bryo/internal/images/trees"
	"bryo/internal/state"
	"bryo/rootfs/archive"
	"bryo/rootfs/changes"
	"bryo/rootfs/image"
	"bryo/rootfs/store"
)

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
			return changes.Layer(ctx, trees.ChangesOf(r.request.Root, c), trees.InsideIDs(c), out)
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
