package server

import (
	"context"

	"bryo/internal/images"
	"bryo/rootfs/store"
	"bryo/sandbox/userns"
)

// mapped copies an image's layers with shifted owners, for --userns keep-id.
func mapped(ctx context.Context, r *role) (any, error) {
	a, err := args[images.MappedArgs](r)
	if err != nil {
		return nil, err
	}
	layers, err := r.store.Mapped(ctx, a.Record, idRanges(a.UIDs), idRanges(a.GIDs))
	return images.MappedResult{Layers: layers}, err
}

func idRanges(ranges []userns.Range) (out []store.IDRange) {
	for _, r := range ranges {
		out = append(out, store.IDRange{Container: r.Inside, Store: r.Outside, Count: r.Count})
	}
	return out
}
