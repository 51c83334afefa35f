// Package server is the image role: the process inside a user namespace that
// alone opens the image store. It reads one request, does it, and answers.
//
// Start reading at Main; each operation has its own function. The caller's side
// is package images.
package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/rootfs/image"
	"bryo/rootfs/mount"
	"bryo/rootfs/registry"
	"bryo/rootfs/store"
)

// Main runs the role and returns the process's exit code.
func Main() int {
	return serving.Main(images.Role, func(ctx context.Context, r *images.Request) (any, error) {
		return dispatch(ctx, &role{request: r})
	}, kind)
}

// role is one request being served.
type role struct {
	request *images.Request
	store   *store.Store
}

func dispatch(ctx context.Context, r *role) (any, error) {
	// Files of the store belong to the namespace's ids as the archive says; a
	// umask of the caller must not change their modes.
	unix.Umask(0)
	operation, ok := map[string]func(context.Context, *role) (any, error){
		images.OpPull:   pull,
		images.OpPush:   push,
		images.OpLoad:   load,
		images.OpSave:   save,
		images.OpImport: importTar,
		images.OpRemove: remove,
		images.OpTag:    tag,
		images.OpPrune:  prune,
		images.OpMapped: mapped,
		images.OpVerify: verify,

		images.OpManifest:     manifest,
		images.OpManifestPush: pushManifest,
		images.OpSearch:       search,
		images.OpLogin:        login,
		images.OpLogout:       logout,
		images.OpCommit:       commit,
	}[r.request.Op]
	if !ok {
		return nil, fmt.Errorf("image role: unknown operation %q", r.request.Op)
	}
	switch r.request.Op {
	case images.OpManifest, images.OpManifestPush, images.OpSearch, images.OpLogin, images.OpLogout:
		return operation(ctx, r) // these need no image store
	}
	options := store.Options{
		SingleUID: r.request.Single,
		NoOverlay: mount.OverlaySupported(r.request.Root) != nil,
		InUse:     usedBy(r.request.Root),
		Fetched:   func(blob string) int64 { return registry.Fetched(r.partialDir(), blob) },
		Removing:  r.request.Op == images.OpRemove || r.request.Op == images.OpPrune,
	}
	var err error
	if r.store, err = store.Open(r.request.Root, options); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	defer r.store.Close()
	trace.Mark("store open")
	return operation(ctx, r)
}

func args[T any](r *role) (T, error) { return serving.Args[T](r.request) }

func (r *role) partialDir() string { return filepath.Join(r.request.Root, "partial") }

// usedBy lists the containers, running or stopped, that are made of an image.
func usedBy(root string) func(string) []store.User {
	return func(id string) (users []store.User) {
		containers := state.Open(root)
		ids, err := containers.IDs()
		if err != nil {
			return []store.User{{ID: "(unreadable: " + err.Error() + ")"}}
		}
		for _, container := range ids {
			config, err := containers.Load(container)
			if err != nil || config.Image.ID == id {
				status, _ := containers.Status(container)
				users = append(users, store.User{ID: container, Running: status != nil && status.Running()})
			}
		}
		return users
	}
}

// kind names the errors that callers distinguish.
func kind(err error) string {
	switch {
	case errors.Is(err, image.ErrNotFound):
		return images.KindNotFound
	case errors.Is(err, registry.ErrUnauthorized), errors.Is(err, registry.ErrDenied):
		return images.KindDenied
	case errors.Is(err, registry.ErrNotFound):
		return images.KindAbsent
	}
	return ""
}
