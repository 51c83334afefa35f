// Package server is the image role: the process inside a user namespace that
// alone opens the image store. It reads one request, does it, and answers.
//
// Start reading at Main; each operation has its own function. The caller's side
// is package images.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/rootfs/image"
	"bryo/rootfs/mount"
	"bryo/rootfs/registry"
	"bryo/rootfs/store"
	"bryo/sandbox/userns"
)

// maxRequest bounds what the caller sends: names, filters, a few hundred paths.
const maxRequest = 8 << 20

// Main runs the role; the exit code is 0 when an answer was given.
func Main() int {
	trace.Start("image", userns.Began())
	in := os.NewFile(userns.FirstFile, "request")
	out := os.NewFile(userns.FirstFile+1, "reply")
	if err := userns.Ready(); err != nil {
		return answer(out, nil, err)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxRequest))
	if err != nil || len(data) == 0 {
		return 125 // the caller is gone
	}
	var r images.Request
	if err := json.Unmarshal(data, &r); err != nil {
		return answer(out, nil, fmt.Errorf("image role: request: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	result, err := dispatch(ctx, &role{request: r})
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return answer(out, result, err)
}

// role is one request being served.
type role struct {
	request images.Request
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

		images.OpCopyOut:      copyOut,
		images.OpCopyIn:       copyIn,
		images.OpManifest:     manifest,
		images.OpManifestPush: pushManifest,
		images.OpSearch:       search,

		images.OpChanges: changed,
		images.OpExport:  export,
		images.OpCommit:  commit,

		images.OpContainerRemove: removeContainer,
		images.OpVolumeRemove:    removeVolumes,
		images.OpVolumePrune:     pruneVolumes,
		images.OpUsage:           usage,
	}[r.request.Op]
	if !ok {
		return nil, fmt.Errorf("image role: unknown operation %q", r.request.Op)
	}
	switch r.request.Op {
	case images.OpVolumeRemove, images.OpVolumePrune, images.OpContainerRemove, images.OpUsage,
		images.OpCopyOut, images.OpCopyIn, images.OpChanges, images.OpExport,
		images.OpManifest, images.OpManifestPush, images.OpSearch:
		return operation(ctx, r) // these need no image store
	}
	options := store.Options{
		SingleUID: r.request.Single,
		NoOverlay: mount.OverlaySupported(r.request.Root) != nil,
		InUse:     usedBy(r.request.Root),
		Removing:  r.request.Op == images.OpRemove || r.request.Op == images.OpPrune,
	}
	var err error
	if r.store, err = store.Open(r.request.Root, options); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	defer r.store.Close()
	return operation(ctx, r)
}

func args[T any](r *role) (T, error) {
	var a T
	err := json.Unmarshal(r.request.Args, &a)
	return a, err
}

func (r *role) partialDir() string { return filepath.Join(r.request.Root, "partial") }

// usedBy names the containers, running or stopped, that are made of an image.
func usedBy(root string) func(string) []string {
	return func(id string) (names []string) {
		containers := state.Open(root)
		ids, err := containers.IDs()
		if err != nil {
			return []string{"(unreadable: " + err.Error() + ")"}
		}
		for _, container := range ids {
			config, err := containers.Load(container)
			if err != nil || config.Image.ID == id {
				names = append(names, container)
			}
		}
		return names
	}
}

func answer(out *os.File, result any, err error) int {
	var reply images.Reply
	if err == nil && result != nil {
		reply.Result, err = json.Marshal(result)
	}
	if err != nil {
		reply = images.Reply{Error: failure(err)}
	}
	data, err := json.Marshal(reply)
	if err != nil {
		return 125
	}
	if _, err := out.Write(data); err != nil {
		return 125
	}
	return 0
}

// failure keeps the kind of an error across the process boundary.
func failure(err error) *images.Failure {
	f := &images.Failure{Message: err.Error()}
	switch {
	case errors.Is(err, image.ErrNotFound):
		f.Kind = images.KindNotFound
	case errors.Is(err, registry.ErrUnauthorized), errors.Is(err, registry.ErrDenied):
		f.Kind = images.KindDenied
	case errors.Is(err, registry.ErrNotFound):
		f.Kind = images.KindAbsent
	}
	return f
}
