package engine

import (
	"bryo/internal/images"
	"bryo/rootfs/image"
	"bryo/rootfs/volume"
)

// DiskUsage is what is stored, and what of it nothing uses.
type DiskUsage struct {
	Images     []ImageUsage
	Containers []ContainerUsage
	Volumes    []VolumeUsage
	LayersSize int64 // of all images together
}

// ImageUsage, ContainerUsage and VolumeUsage are one object and its bytes.
type (
	ImageUsage struct {
		image.Summary
		image.Share
		Containers int
	}
	ContainerUsage struct {
		*Container
		Size int64
	}
	VolumeUsage struct {
		*volume.Volume
		Size  int64
		Links int // containers that mount it
	}
)

// DiskUsage measures the data root.
func (e *Engine) DiskUsage() (*DiskUsage, error) {
	list, err := e.Containers()
	if err != nil {
		return nil, err
	}
	volumes, err := e.Volumes(volume.Filter{})
	if err != nil {
		return nil, err
	}
	sizes, err := e.sizes(list, volumes)
	if err != nil {
		return nil, err
	}
	out := &DiskUsage{}
	links := map[string]int{}
	for _, c := range list {
		out.Containers = append(out.Containers, ContainerUsage{c, sizes.Containers[c.ID]})
		for _, name := range c.Volumes() {
			links[name]++
		}
	}
	for _, v := range volumes {
		out.Volumes = append(out.Volumes, VolumeUsage{v, sizes.Volumes[v.Name], links[v.Name]})
	}
	return out, e.imageUsage(out)
}

// sizes asks the role that can read every folder; nothing to measure needs none.
func (e *Engine) sizes(list []*Container, volumes []*volume.Volume) (*images.UsageResult, error) {
	var ask images.UsageArgs
	for _, c := range list {
		ask.Containers = append(ask.Containers, c.ID)
	}
	for _, v := range volumes {
		ask.Volumes = append(ask.Volumes, v.Name)
	}
	var result images.UsageResult
	if len(ask.Containers)+len(ask.Volumes) == 0 {
		return &result, nil
	}
	return &result, e.call(images.OpUsage, ask, &result)
}

func (e *Engine) imageUsage(out *DiskUsage) error {
	summaries, err := e.Images(nil)
	if err != nil {
		return err
	}
	shares, total, err := image.Shares(e.Root)
	if err != nil {
		return err
	}
	out.LayersSize = total
	users := map[string]int{}
	for _, c := range out.Containers {
		users[c.Image.ID]++
	}
	for _, s := range summaries {
		out.Images = append(out.Images, ImageUsage{s, shares[s.ID], users[s.ID]})
	}
	return nil
}
