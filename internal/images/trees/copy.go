package trees

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/images/serving"
	"bryo/internal/state"
	"bryo/rootfs/files"
	"bryo/rootfs/mount/inroot"
	"bryo/sandbox/userns"
)

// copyOut writes a file or directory of a container to standard output: one line
// that says what it is, then an archive.
func copyOut(ctx context.Context, r *images.Request) (any, error) {
	a, c, err := copyArgs(r)
	if err != nil {
		return nil, err
	}
	v, err := view(r, c, a.Running, false)
	if err != nil {
		return nil, err
	}
	defer v.close()
	source, err := files.Inside(v.root).Source(a.Path, a.Follow)
	if err != nil {
		return nil, missing(err, a.Path, c)
	}
	defer source.Close()
	if !a.Bare {
		if err := json.NewEncoder(os.Stdout).Encode(images.Copied{Name: source.Name, Dir: source.Dir}); err != nil {
			return nil, err
		}
	}
	return nil, files.Pack(ctx, os.Stdout, source.FD, source.Name, idsOf(c).inside)
}

// copyIn unpacks the archive on standard input in a container.
func copyIn(ctx context.Context, r *images.Request) (any, error) {
	a, c, err := copyArgs(r)
	if err != nil {
		return nil, err
	}
	v, err := view(r, c, a.Running, true)
	if err != nil {
		return nil, err
	}
	defer v.close()
	target, err := files.Inside(v.root).Target(a.Path)
	if err != nil {
		return nil, missing(err, path.Dir(a.Path), c)
	}
	defer target.Close()
	place, err := placeOf(target, a)
	if err != nil {
		return nil, err
	}
	options := files.ExtractOptions{Owner: idsOf(c).owner(r.Single, a.Archive || a.Name == "")}
	if a.Name == "" {
		options.Follow = func(dir string) (int, error) {
			return inroot.Open(v.root, a.Path+"/"+dir, unix.O_PATH|unix.O_DIRECTORY)
		}
	}
	err = files.Extract(ctx, tar.NewReader(bufio.NewReaderSize(os.Stdin, 256<<10)), place, options)
	return nil, readOnly(err, c, a.Path)
}

func placeOf(target *files.Target, a images.CopyArgs) (files.Place, error) {
	if a.Name == "" && !target.Dir {
		return files.Place{}, fmt.Errorf("destination %q must be a directory", a.Path)
	}
	return target.Place(a.Name, a.Dir)
}

func copyArgs(r *images.Request) (images.CopyArgs, *state.Config, error) {
	a, err := serving.Args[images.CopyArgs](r)
	if err != nil {
		return a, nil, err
	}
	c, err := state.Open(r.Root).Load(a.ID)
	return a, c, err
}

// missing has docker's words for a path that is not there.
func missing(err error, name string, c *state.Config) error {
	if errors.Is(err, fs.ErrNotExist) {
		//lint:ignore ST1005 docker's words
		return fmt.Errorf("Could not find the file %s in container %s", name, c.Name)
	}
	return err
}

func readOnly(err error, c *state.Config, name string) error {
	if !errors.Is(err, unix.EROFS) {
		return err
	}
	if c.Host.ReadOnly {
		return fmt.Errorf("container rootfs or mounted volume is marked read-only: %s", name)
	}
	return fmt.Errorf("mounted volume is marked read-only: %s", name)
}

// ids translates owners between the disk, as this namespace sees it, and the
// container: the same, but for keep-id.
type ids struct{ c *state.Config }

func idsOf(c *state.Config) ids { return ids{c} }

// InsideIDs translates owners as this process sees them to the container's own ids.
func InsideIDs(c *state.Config) func(uid, gid uint32) (uint32, uint32) { return idsOf(c).inside }

// inside is a disk's owner as the container knows it.
func (i ids) inside(uid, gid uint32) (uint32, uint32) {
	users, groups := i.c.Host.KeepID.Maps()
	return insideID(users, uid), insideID(groups, gid)
}

func insideID(ranges []userns.Range, id uint32) uint32 {
	if inside, ok := userns.Inside(ranges, id); ok {
		return inside
	}
	return id
}

// owner decides whose a copied file becomes: root's, or whose the archive says.
// With one id there is no choice.
func (i ids) owner(single, archive bool) func(*tar.Header) (int, int, error) {
	return func(h *tar.Header) (int, int, error) {
		if single {
			return 0, 0, nil
		}
		uid, gid := 0, 0
		if archive {
			uid, gid = h.Uid, h.Gid
		}
		return i.disk(uid, gid)
	}
}

func (i ids) disk(uid, gid int) (int, int, error) {
	keep := i.c.Host.KeepID
	if keep == nil {
		return uid, gid, nil
	}
	diskUID, diskGID := diskID(keep.UIDs, uid), diskID(keep.GIDs, gid)
	if diskUID < 0 || diskGID < 0 {
		return 0, 0, fmt.Errorf("owner %d:%d has no place in the container's map", uid, gid)
	}
	return diskUID, diskGID, nil
}

// diskID is -1 for an id that has no place in the map.
func diskID(ranges []userns.Range, id int) int {
	for _, r := range ranges {
		if above := id - int(r.Inside); above >= 0 && above < int(r.Count) {
			return int(r.Outside) + above
		}
	}
	return -1
}
