package store

import "bryo/rootfs/image"

// The questions that only read are answered by package image, from any process.
// Here for those that have a Store anyway.

// List is image.Summaries.
func (s *Store) List(filter image.Filter) ([]image.Summary, error) {
	return image.Summaries(s.root, filter)
}

// Inspect is image.InspectImage.
func (s *Store) Inspect(ref, platform string) (*image.Inspect, error) {
	return image.InspectImage(s.root, ref, platform)
}

// History is image.HistoryOf.
func (s *Store) History(ref, platform string) ([]image.HistoryEntry, error) {
	return image.HistoryOf(s.root, ref, platform)
}
