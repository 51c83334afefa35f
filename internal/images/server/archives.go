package server

import (
	"context"
	"errors"

	"bryo/internal/images"
	"bryo/rootfs/image"
)

var errPending = errors.New("archives: pending")

func (r *role) makeHello(ctx context.Context) (*images.PullResult, error) { return nil, errPending }
func (r *role) pullArchive(ctx context.Context, transport, place string, a images.PullArgs) (*images.PullResult, error) {
	return nil, errPending
}
func load(ctx context.Context, r *role) (any, error)      { return nil, errPending }
func save(ctx context.Context, r *role) (any, error)      { return nil, errPending }
func importTar(ctx context.Context, r *role) (any, error) { return nil, errPending }
func push(ctx context.Context, r *role) (any, error)      { return nil, errPending }
func mapped(ctx context.Context, r *role) (any, error)    { return nil, errPending }

func (r *role) importContainersStorage(ctx context.Context, name string) (*image.Record, error) {
	return nil, errPending
}
