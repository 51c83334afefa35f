package image

import (
	"slices"
	"time"
)

// Summary is an image as `images` lists it.
type Summary struct {
	ID          string // 64 hex
	RepoTags    []string
	RepoDigests []string
	Created     time.Time
	Size        int64 // bytes of all layers, unpacked
	Labels      map[string]string
	Platform    string // os/arch[/variant]
	Dangling    bool
	Damaged     error // the configuration cannot be read; the rest is what is known

	image Image
}

// Summaries lists the images that pass the filter, newest first. It reads the
// store's files only.
func Summaries(root string, filter Filter) ([]Summary, error) {
	images, err := List(root)
	if err != nil {
		return nil, err
	}
	all := make([]Summary, len(images))
	for i := range images {
		all[i] = summarize(&images[i])
	}
	// Newest first; images made reproducibly share a date, so the name decides then.
	slices.SortStableFunc(all, func(a, b Summary) int {
		if order := b.Created.Compare(a.Created); order != 0 {
			return order
		}
		return slices.Compare(a.RepoTags, b.RepoTags)
	})
	return filter.apply(all)
}

func summarize(image *Image) Summary {
	s := Summary{
		ID: image.ID, RepoTags: image.RepoTags(), RepoDigests: image.RepoDigests(), Size: image.Note.Size,
		Dangling: image.Dangling(), Created: image.Stored, image: *image,
	}
	config, err := image.Config()
	if err != nil {
		s.Damaged = err
		return s
	}
	s.Created, s.Labels, s.Platform = config.Created, config.Labels, config.Platform()
	return s
}
