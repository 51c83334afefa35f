package server

import (
	"context"

	"bryo/internal/images"
)

// verify reads all layers and compares them with their digests.
func verify(ctx context.Context, r *role) (any, error) {
	found, err := r.store.Verify(ctx)
	if err != nil {
		return nil, err
	}
	var result images.VerifyResult
	for _, layer := range found {
		if layer.Altered == "" {
			result.Unknown = append(result.Unknown, layer.ID)
			continue
		}
		result.Altered = append(result.Altered, images.AlteredLayer{Layer: layer.ID, What: layer.Altered, Images: layer.Images})
	}
	return result, nil
}
