package server

import (
	"context"
	"errors"

	"bryo/rootfs/image"
)

func (r *role) importContainersStorage(ctx context.Context, name string) (*image.Record, error) {
	return nil, errors.New("containers-storage: not supported yet")
}

func mapped(ctx context.Context, r *role) (any, error) {
	return nil, errors.New("--userns keep-id: not supported yet")
}
