package engine

import (
	"errors"
	"slices"

	"bryo/internal/events"
	"bryo/internal/images"
	"bryo/rootfs/volume"
)

// CreateVolume makes a volume, or returns the one of that name.
func (e *Engine) CreateVolume(name string, o volume.CreateOptions) (*volume.Volume, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	store := volume.NewStore(e.Root)
	_, known := store.Get(name)
	v, err := store.Create(name, o)
	_ = store.SweepNew()
	if err == nil && known != nil {
		e.announceVolume("create", v.Name)
	}
	return v, err
}

// Volume returns one volume.
func (e *Engine) Volume(name string) (*volume.Volume, error) {
	return volume.NewStore(e.Root).Get(name)
}

// Volumes lists those that the filter accepts, by name.
func (e *Engine) Volumes(filter volume.Filter) ([]*volume.Volume, error) {
	return volume.NewStore(e.Root).List(filter, e.containers().VolumeUsers)
}

// RemoveVolumes removes volumes; their files may belong to subordinate ids, so
// a role in the user namespace does it.
func (e *Engine) RemoveVolumes(args images.VolumeRemoveArgs) (*images.RemoveResult, error) {
	// With --force one that is not there is removed too, and no event.
	there := slices.DeleteFunc(slices.Clone(args.Names), func(name string) bool {
		_, err := e.Volume(name)
		return errors.As(err, new(*volume.NotFoundError))
	})
	done := e.promise(volumeRemovals(there))
	var result images.RemoveResult
	err := e.call(images.OpVolumeRemove, args, &result)
	for _, name := range result.Lines {
		if slices.Contains(there, name) {
			e.announceVolume("destroy", name)
		}
	}
	done(err)
	return &result, err
}

// PruneVolumes removes volumes that no container uses.
func (e *Engine) PruneVolumes(args images.VolumePruneArgs) (*volume.Pruned, error) {
	var names []string
	all, _ := e.Volumes(volume.Filter{})
	for _, v := range all {
		names = append(names, v.Name)
	}
	done := e.promise(volumeRemovals(names))
	var result volume.Pruned
	err := e.call(images.OpVolumePrune, args, &result)
	for _, name := range result.VolumesDeleted {
		e.announceVolume("destroy", name)
	}
	done(err)
	return &result, err
}

func volumeRemovals(names []string) (list []events.Event) {
	for _, name := range names {
		list = append(list, volumeEvent("destroy", name))
	}
	return list
}
