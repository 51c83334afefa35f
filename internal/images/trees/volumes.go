package trees

import (
	"context"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
	"bryo/rootfs/volume"
)

func removeVolumes(_ context.Context, r *images.Request) (any, error) {
	a, err := serving.Args[images.VolumeRemoveArgs](r)
	if err != nil {
		return nil, err
	}
	containers := state.Open(r.Root)
	containers.Sweep()
	volumes := volume.NewStore(r.Root)
	swept := volumes.Sweep()
	if len(a.Names) == 0 {
		return images.RemoveResult{}, swept
	}
	var result images.RemoveResult
	for _, name := range a.Names {
		if err := volumes.Remove(name, a.Force, containers.VolumeUsersKnown); err != nil {
			result.Errors = append(result.Errors, images.Failure{Message: err.Error()})
			continue
		}
		result.Lines = append(result.Lines, name)
	}
	return result, nil
}

func pruneVolumes(_ context.Context, r *images.Request) (any, error) {
	a, err := serving.Args[images.VolumePruneArgs](r)
	if err != nil {
		return nil, err
	}
	filter, err := volume.ParseFilter(a.Filters, "label", "label!", "all")
	if err != nil {
		return nil, err
	}
	containers := state.Open(r.Root)
	containers.Sweep()
	return volume.NewStore(r.Root).Prune(a.All, filter, containers.VolumeUsers)
}
