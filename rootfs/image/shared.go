package image

// Share is what an image holds together with others, and alone, in bytes.
type Share struct{ Shared, Unique int64 }

// Shares says for each image how much of it other images use too, and how much
// all of them take: a layer of several images is there once.
func Shares(root string) (byImage map[string]Share, total int64, err error) {
	images, err := List(root)
	if err != nil {
		return nil, 0, err
	}
	layers, err := Layers(root)
	if err != nil {
		return nil, 0, err
	}
	users := map[string]int{}
	chains := make([][]Layer, len(images))
	for i := range images {
		if chains[i], err = images[i].Chain(layers); err != nil {
			chains[i] = nil // damaged: it counts as nothing
			continue
		}
		for _, layer := range chains[i] {
			if users[layer.ID]++; users[layer.ID] == 1 {
				total += layer.Size
			}
		}
	}
	byImage = map[string]Share{}
	for i := range images {
		var s Share
		for _, layer := range chains[i] {
			if users[layer.ID] > 1 {
				s.Shared += layer.Size
			} else {
				s.Unique += layer.Size
			}
		}
		byImage[images[i].ID] = s
	}
	return byImage, total, nil
}
