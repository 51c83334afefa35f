package server

import (
	"context"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
	"bryo/rootfs/registry"
	"bryo/rootfs/store"
)

func remove(_ context.Context, r *role) (any, error) {
	a, err := args[images.RemoveArgs](r)
	if err != nil {
		return nil, err
	}
	state.Open(r.request.Root).Sweep() // what a kill -9 left must not hold an image
	platforms := a.Platforms
	if len(platforms) == 0 {
		platforms = []string{""}
	}
	var result images.RemoveResult
	for _, name := range a.References {
		for _, platform := range platforms {
			removed, err := r.store.Remove(name, store.RemoveOptions{Force: a.Force, Platform: platform})
			for _, line := range removed {
				result.Lines = append(result.Lines, line.String())
			}
			if err != nil {
				result.Errors = append(result.Errors, *serving.Failure(err, kind))
			}
		}
	}
	return result, nil
}

func tag(_ context.Context, r *role) (any, error) {
	a, err := args[images.TagArgs](r)
	if err != nil {
		return nil, err
	}
	return nil, r.store.Tag(a.Source, a.Target)
}

func prune(ctx context.Context, r *role) (any, error) {
	a, err := args[images.PruneArgs](r)
	if err != nil {
		return nil, err
	}
	state.Open(r.request.Root).Sweep()
	report, err := r.store.Prune(ctx, store.PruneOptions{All: a.All, Filter: a.Filters})
	if err != nil {
		return nil, err
	}
	// And what interrupted pulls left to be continued.
	partial, err := registry.CleanPartial(r.partialDir(), 0)
	if err != nil {
		return nil, err
	}
	result := images.PruneResult{Reclaimed: report.Freed + partial}
	for _, line := range report.Removed {
		result.Lines = append(result.Lines, line.String())
	}
	return result, nil
}
