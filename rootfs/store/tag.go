package store

import (
	"errors"
	"strings"

	"bryo/rootfs/image"
)

// Tag gives the image that source names the name target as well, taking it from
// the image that has it.
func (s *Store) Tag(source, target string) error {
	name, err := image.Normalize(target)
	if err != nil {
		return err
	}
	if digestIn(name) != "" {
		return errors.New("refusing to create a tag with a digest reference")
	}
	if target == "sha256" || strings.HasPrefix(target, "sha256:") {
		return errors.New("refusing to create an ambiguous tag using digest algorithm as name")
	}
	return s.mutate(func() error {
		found, err := s.find(source, "")
		if err != nil {
			return err
		}
		return s.giveNames(found.ID, []string{name})
	})
}
