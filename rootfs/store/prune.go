package store

import (
	"context"
	"errors"

	"bryo/rootfs/image"
)

// PruneOptions are for Prune.
type PruneOptions struct {
	// All removes every image that no container uses, not only those without a name.
	All bool
	// Filter as in docker: until, label, label!, dangling (false means All).
	Filter image.Filter
}

// PruneReport is what Prune removed.
type PruneReport struct {
	Removed []Removed
	Freed   int64 // bytes, unpacked
}

// Prune removes images that nobody needs, and what interrupted imports left.
func (s *Store) Prune(ctx context.Context, options PruneOptions) (*PruneReport, error) {
	given, dangling, err := options.Filter.Dangling()
	if err != nil {
		return nil, err
	}
	all := options.All || (given && !dangling)
	filter := image.Filter{}
	for key, values := range options.Filter {
		if key != "dangling" {
			filter[key] = values
		}
	}
	report := &PruneReport{}
	unlock, err := s.lockImages()
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := s.totalSize()
	if err != nil {
		return nil, err
	}
	if err := s.pruneImages(ctx, all, filter, report); err != nil {
		return report, err
	}
	_, err = s.RemoveOrphans(ctx)
	err = errors.Join(err, s.removeMapped())
	s.healStaging()
	s.healLinks()
	after, sizeErr := s.totalSize()
	report.Freed = before - after
	return report, errors.Join(err, sizeErr)
}

func (s *Store) pruneImages(ctx context.Context, all bool, filter image.Filter, report *PruneReport) error {
	summaries, err := image.Summaries(s.root, filter)
	if err != nil {
		return err
	}
	for _, summary := range summaries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !all && !summary.Dangling || len(s.users(summary.ID)) > 0 {
			continue
		}
		err := s.mutate(func() error {
			found, err := s.find(summary.ID, "")
			if err != nil {
				return err
			}
			r := &removal{store: s, image: *found, force: true}
			err = r.byID()
			report.Removed = append(report.Removed, r.lines...)
			return err
		})
		if err != nil && !errors.Is(err, image.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (s *Store) totalSize() (int64, error) {
	layers, err := image.Layers(s.root)
	var size int64
	for _, layer := range layers {
		size += layer.Size
	}
	return size, err
}
