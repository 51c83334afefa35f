package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	digest "github.com/opencontainers/go-digest"
	drivers "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"

	"bryo/rootfs/image"
	"bryo/rootfs/store/tree"
	"bryo/rootfs/store/unpack"
)

// ImportContainersStorage takes an image from the store that podman, buildah and
// skopeo share. place is NAME, or [DRIVER@GRAPHROOT]NAME with DRIVER overlay or
// vfs; without it the user's own store is meant. Layers come by reflink or hard
// link where both stores are on one file system, and are checked against their
// DiffIDs all the same. The name is given to the image here too.
func (s *Store) ImportContainersStorage(ctx context.Context, place string) (*image.Record, error) {
	graph, driver, name, err := foreignPlace(place)
	if err != nil {
		return nil, err
	}
	p, found, err := s.foreignPlan(graph, driver, name)
	if err != nil {
		return nil, fmt.Errorf("containers-storage:%s: %w", name, err)
	}
	options := ImportOptions{}
	if normal, err := image.Normalize(name); err == nil && !strings.HasPrefix(found.ID, strings.TrimPrefix(name, "sha256:")) {
		options.Names = []string{normal}
	}
	return s.importPlan(ctx, p, options)
}

// foreignPlace reads where the other store is. podman takes vfs where it found
// no overlay at its first start.
func foreignPlace(place string) (graph, driver, name string, err error) {
	if rest, found := strings.CutPrefix(place, "["); found {
		where, name, closed := strings.Cut(rest, "]")
		where, _, _ = strings.Cut(where, "+") // run root and options are of no interest
		driver, graph, hasDriver := strings.Cut(where, "@")
		if !closed || !hasDriver {
			return "", "", "", fmt.Errorf("containers-storage:%s: want [DRIVER@GRAPHROOT]NAME", place)
		}
		if driver != "overlay" && driver != "vfs" {
			return "", "", "", fmt.Errorf("containers-storage:%s: driver %q is neither overlay nor vfs", place, driver)
		}
		return graph, driver, name, nil
	}
	if graph, err = usersGraph(); err != nil {
		return "", "", "", err
	}
	for _, driver := range []string{"overlay", "vfs"} {
		images, err := image.ListGraph(graph, driver)
		if err != nil {
			return "", "", "", err
		}
		if _, err := image.Find(images, place, ""); err == nil {
			return graph, driver, place, nil
		}
	}
	return "", "", "", fmt.Errorf("containers-storage:%s: %w", place, &image.NotFoundError{Ref: place})
}

// usersGraph is the default store of whoever the namespace's root is outside.
func usersGraph() (string, error) {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return "", err
	}
	if fields := strings.Fields(string(text)); len(fields) >= 2 && fields[1] == "0" {
		return "/var/lib/containers/storage", nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); data != "" {
		return filepath.Join(data, "containers", "storage"), nil
	}
	home := os.Getenv("HOME")
	if home == "" {
		return "", errors.New("containers-storage: HOME is not set")
	}
	return filepath.Join(home, ".local", "share", "containers", "storage"), nil
}

// foreignLayer is a layer of another store of the same format.
type foreignLayer struct {
	id, dir, notes string
	linkable       bool // its directory is what overlayfs takes, deletions included
}

func (f *foreignLayer) stream() (io.ReadCloser, error) { return replay(f.notes, f.dir, f.id) }

func (s *Store) foreignPlan(graph, driver, name string) (*plan, *image.Image, error) {
	images, err := image.ListGraph(graph, driver)
	if err != nil {
		return nil, nil, err
	}
	found, err := image.Find(images, name, "")
	if err != nil {
		return nil, nil, err
	}
	p := new(plan)
	if p.manifest, err = found.RawManifest(); err != nil {
		return nil, nil, err
	}
	m, err := p.readManifest()
	if err != nil {
		return nil, nil, err
	}
	if p.config, err = found.RawConfig(); err != nil {
		return nil, nil, err
	}
	if err := p.readConfig(m.Config); err != nil {
		return nil, nil, err
	}
	return p, found, s.foreignLayers(p, m, found, graph, driver)
}

func (s *Store) foreignLayers(p *plan, m *manifest, found *image.Image, graph, driver string) error {
	layers, err := image.LayersGraph(graph, driver)
	if err != nil {
		return err
	}
	chain, err := found.Chain(layers)
	if err != nil {
		return err
	}
	if len(chain) != len(p.parsed.DiffIDs) || len(chain) != len(m.Layers) {
		return fmt.Errorf("%w: %d layers in the store, %d in the manifest, %d in the configuration", ErrInvalid, len(chain), len(m.Layers), len(p.parsed.DiffIDs))
	}
	linkable := driver == "overlay" && !s.options.SingleUID && !s.options.NoOverlay && !usesMountProgram(graph)
	parent := ""
	for i, diffID := range p.parsed.DiffIDs {
		layer := chain[len(chain)-1-i]
		parent = layerID(parent, diffID)
		p.layers = append(p.layers, planLayer{
			digest: m.Layers[i].Digest, size: -1, diffID: diffID, id: parent,
			foreign: &foreignLayer{id: layer.ID, dir: foreignDir(graph, driver, layer.ID), notes: notesPath(graph, driver, layer.ID), linkable: linkable},
		})
	}
	return nil
}

// usesMountProgram: fuse-overlayfs keeps owners and deletions in its own way.
func usesMountProgram(graph string) bool {
	text, err := os.ReadFile(filepath.Join(graph, "overlay", ".has-mount-program"))
	return err == nil && strings.TrimSpace(string(text)) == "true"
}

// foreignDir is where a driver keeps a layer: overlay what it adds, vfs the
// whole tree, in which every file of the layer is found as well.
func foreignDir(graph, driver, layer string) string {
	if driver == "vfs" {
		return filepath.Join(graph, "vfs", "dir", layer)
	}
	return filepath.Join(graph, "overlay", layer, "diff")
}

// link fills dest from the other store's directory without copying contents,
// then reads the layer's archive out of it: only a tree that gives the very
// bytes of the DiffID is taken.
func (d *differ) link(dest string) (drivers.DriverWithDifferOutput, error) {
	var output drivers.DriverWithDifferOutput
	f := d.layer.foreign
	ids := unpack.NewOwners(d.store.unpack.UIDs, d.store.unpack.GIDs)
	if err := tree.Copy(d.ctx, f.dir, dest, tree.Options{Link: true, Owner: ids.Keep}); err != nil {
		return output, err
	}
	size, err := d.verifyTree(dest)
	if err != nil {
		return output, err
	}
	notes, err := plainNotes(f.notes, filepath.Dir(dest))
	if err != nil {
		return output, err
	}
	var st unix.Stat_t
	if err := unix.Stat(dest, &st); err != nil {
		notes.Close()
		return output, err
	}
	mode := os.FileMode(st.Mode & 0o777)
	uids, gids := ids.Sorted()
	return drivers.DriverWithDifferOutput{
		Differ: d, Size: size, RootDirMode: &mode, TarSplit: notes, UIDs: uids, GIDs: gids,
		UncompressedDigest: digest.Digest(d.layer.diffID), CompressedDigest: digest.Digest(d.layer.digest),
	}, nil
}

func (d *differ) verifyTree(dir string) (int64, error) {
	stream, err := replay(d.layer.foreign.notes, dir, d.layer.foreign.id)
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, stream)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != d.layer.diffID {
		return 0, fmt.Errorf("%w: unpacked digest is %s, the configuration says %s", ErrInvalid, got, d.layer.diffID)
	}
	return size, nil
}

// plainNotes unpacks notes into a file without a name, as the library wants them.
func plainNotes(path, dir string) (*os.File, error) {
	packed, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return nil, fmt.Errorf("notes of the layer: %w", err)
	}
	file, err := nameless(dir)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, plain); err != nil {
		file.Close()
		return nil, fmt.Errorf("notes of the layer: %w", err)
	}
	return file, nil
}
