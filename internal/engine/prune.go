package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bryo/internal/format"
	"bryo/internal/state"
)

// PruneContainers removes the containers that do not run.
func (e *Engine) PruneContainers(filters format.Filters) (removed []string, freed int64, err error) {
	list, err := e.Containers()
	if err != nil {
		return nil, 0, err
	}
	var until time.Time
	for _, value := range filters["until"] {
		if until, err = format.Time(value, time.Now()); err != nil {
			return nil, 0, err
		}
	}
	var idle []*Container
	for _, c := range list {
		if c.Broken != nil || c.Status.Supervisor.Alive() || c.Status.Phase == state.Created && c.Creator.Alive() ||
			!until.IsZero() && c.Created.After(until) || !filters.MatchesLabels(c.Host.Labels) {
			continue
		}
		idle = append(idle, c)
	}
	sizes, err := e.sizes(idle, nil)
	if err != nil {
		return nil, 0, err
	}
	e.sweep()
	var failed []error
	for _, c := range idle {
		err := e.Remove(c, RemoveOptions{})
		if errors.Is(err, state.ErrNotFound) {
			continue // another one removed it meanwhile
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		removed, freed = append(removed, c.ID), freed+sizes.Containers[c.ID]
	}
	return removed, freed, errors.Join(failed...)
}

// UpperSize is what the container itself wrote, in bytes on disk. Folders that
// the container closed to everybody else count as empty here.
func (e *Engine) UpperSize(c *Container) (size int64, err error) {
	if entries, _ := os.ReadDir(filepath.Join(e.containers().Path(c.ID), "root")); len(entries) > 0 {
		// No overlay: what it wrote is found by comparing with the image.
		sizes, err := e.sizes([]*Container{c}, nil)
		if err != nil {
			return 0, err
		}
		return sizes.Containers[c.ID], nil
	}
	upper := filepath.Join(e.containers().Path(c.ID), "upper")
	err = filepath.WalkDir(upper, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			size += info.Size() / int64(st.Nlink)
			return nil
		}
		size += info.Size()
		return nil
	})
	return size, err
}

// Restart stops a container and starts it again.
func (e *Engine) Restart(c *Container, sig syscall.Signal, timeout *int) error {
	if err := e.Stop(c, sig, timeout); err != nil {
		return err
	}
	fresh, err := e.Container(c.ID)
	if err != nil {
		return err
	}
	if err := e.Start(fresh); err != nil {
		return err
	}
	e.Announce(fresh, "restart")
	return nil
}

// StartPolicies starts the containers whose restart policy outlives a reboot:
// "always", and "unless-stopped" where the user did not stop it.
func (e *Engine) StartPolicies() (names []string, err error) {
	list, err := e.Containers()
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, c := range list {
		policy := c.Host.Restart.Name
		wanted := policy == state.RestartAlways || policy == state.RestartUnlessStopped && !c.Status.StoppedByUser
		if c.Broken != nil || !wanted || c.Running() || c.Status.Supervisor.Alive() {
			continue
		}
		if err := e.Start(c); err != nil {
			failed = append(failed, err)
			continue
		}
		names = append(names, c.Name)
	}
	return names, errors.Join(failed...)
}
