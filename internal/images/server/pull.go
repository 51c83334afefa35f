package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"bryo/internal/images"
	"bryo/internal/trace"
	"bryo/rootfs/image"
	"bryo/rootfs/reference"
	"bryo/rootfs/registry"
	"bryo/rootfs/registry/progress"
	"bryo/rootfs/store"
)

// hello is the built-in image's name.
const hello = "hello"

func pull(ctx context.Context, r *role) (any, error) {
	a, err := args[images.PullArgs](r)
	if err != nil {
		return nil, err
	}
	switch transport, rest, _ := strings.Cut(a.Reference, ":"); transport {
	case "oci", "oci-archive", "docker-archive":
		return r.pullArchive(ctx, transport, rest, a)
	case "containers-storage":
		record, err := r.store.ImportContainersStorage(ctx, rest)
		return images.PullResult{Record: record, Updated: true}, err
	}
	if a.AllTags {
		return r.pullAllTags(ctx, a)
	}
	result, err := r.pullOne(ctx, a)
	if err != nil && a.Reference == hello && ctx.Err() == nil {
		return r.makeHello(ctx)
	}
	return result, err
}

func (r *role) pullOne(ctx context.Context, a images.PullArgs) (*images.PullResult, error) {
	ref, err := reference.Parse(a.Reference)
	if err == reference.ErrFormat {
		return nil, fmt.Errorf("%w: %q", err, a.Reference)
	}
	if err != nil {
		return nil, err // it names what is wrong
	}
	view := progress.New(progress.Options{Out: os.Stdout, Terminal: os.Stderr, Quiet: a.Quiet})
	defer view.Close()
	view.Pulling(ref)
	remote, err := registry.Pull(ctx, ref, registry.Options{Platform: a.Platform, PartialDir: r.partialDir(), Progress: view})
	if err != nil {
		return nil, err
	}
	defer remote.Close()
	trace.Mark("manifest and configuration read")
	before, _ := image.Resolve(r.request.Root, ref.String(), a.Platform)
	record, err := r.store.Import(ctx, remote, store.ImportOptions{Names: []string{ref.String()}, Index: remote.Index(), Progress: stages(view)})
	if err != nil {
		return nil, err
	}
	trace.Mark("image imported")
	updated := before == nil || before.ID != record.ID
	view.Finished(ref, remote.RepoDigest(), updated)
	return &images.PullResult{Record: record, Updated: updated}, nil
}

func (r *role) pullAllTags(ctx context.Context, a images.PullArgs) (*images.PullResult, error) {
	ref, err := reference.ParseName(a.Reference)
	if err != nil {
		return nil, err
	}
	if !ref.IsNameOnly() {
		return nil, errors.New("tag can't be used with --all-tags/-a")
	}
	tags, err := registry.ListTags(ctx, ref, registry.Options{})
	if err != nil {
		return nil, err
	}
	var last *images.PullResult
	for _, tag := range tags {
		one := a
		one.Reference = ref.Name() + ":" + tag
		if last, err = r.pullOne(ctx, one); err != nil {
			return nil, err
		}
	}
	if last == nil {
		return nil, fmt.Errorf("repository %s has no tags", ref.FamiliarName())
	}
	return last, nil
}

// stages shows what the store does with each layer.
func stages(view *progress.View) func(store.Event) {
	return func(e store.Event) {
		switch e.State {
		case store.Present:
			view.Exists(e.Layer)
		case store.Syncing:
			view.Extracting(e.Layer)
		case store.Done:
			view.Complete(e.Layer)
		}
	}
}
