package trees

import (
	"context"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
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
	return nil, containers.DeleteWithdrawn(a.ID, a.Name)
}
