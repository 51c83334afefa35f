package trees

import (
	"context"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
	"bryo/rootfs/volume"
)

// removeContainer deletes a stopped container: its files may belong to ids that
// only the user namespace may delete. Without an id it sweeps the abandoned ones.
func removeContainer(_ context.Context, r *images.Request) (any, error) {
	a, err := serving.Args[images.ContainerRemoveArgs](r)
	if err != nil {
		return nil, err
	}
	containers := state.Open(r.Root)
	if a.ID == "" {
		containers.Sweep()
		return nil, nil
	}
	var anonymous []string
	if config, err := containers.Load(a.ID); err == nil && (a.Volumes || config.Host.Remove) {
		anonymous = config.Volumes()
	}
	if err := containers.Delete(a.ID, a.Name); err != nil {
		return nil, err
	}
	if len(anonymous) == 0 {
		return nil, nil
	}
	return nil, volume.NewStore(r.Root).RemoveAnonymous(anonymous, containers.VolumeUsers)
}
