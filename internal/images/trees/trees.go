// Package trees is the part of the image role that needs no image store: what is
// done with the files of containers and volumes, as root of a user namespace.
//
// Start reading at Main. The caller's side is package images.
package trees

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/images/serving"
)

// Main runs the role and returns the process's exit code.
func Main() int { return serving.Main(images.TreeRole, dispatch, nil) }

func dispatch(ctx context.Context, r *images.Request) (any, error) {
	// Files have the modes that archives say; a umask of the caller must not change them.
	unix.Umask(0)
	operation, ok := map[string]func(context.Context, *images.Request) (any, error){
		images.OpContainerRemove: removeContainer,
		images.OpVolumeRemove:    removeVolumes,
		images.OpVolumePrune:     pruneVolumes,
		images.OpUsage:           usage,
		images.OpCopyOut:         copyOut,
		images.OpCopyIn:          copyIn,
		images.OpChanges:         changed,
		images.OpExport:          export,
	}[r.Op]
	if !ok {
		return nil, fmt.Errorf("tree role: unknown operation %q", r.Op)
	}
	return operation(ctx, r)
}
