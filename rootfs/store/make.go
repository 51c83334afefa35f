package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"

	"bryo/rootfs/image"
	"bryo/rootfs/store/unpack"
)

// MakeOptions are for Make.
type MakeOptions struct {
	Parent string // ID of the image below; empty for none
	// Layer writes the new layer's archive, uncompressed, and tells whether there is
	// anything in it: an empty layer is left out.
	Layer func(io.Writer) (bool, error)
	// Config alters the parent's configuration. Layers and history are kept by Make.
	Config func(*image.Config) error
	// History is the step that the image's history ends with.
	History image.History
	Names   []string
}

// Make adds an image of one new layer on the layers of another, which are used
// again as they are. The layer is written once: what is unpacked is digested on
// the way, and the image is made of what then is there. Until it is named, the
// last thing that happens, nothing of it counts.
func (s *Store) Make(ctx context.Context, o MakeOptions) (*image.Record, error) {
	parent, manifest, err := s.parent(o.Parent)
	if err != nil {
		return nil, err
	}
	if err := o.Config(parent); err != nil {
		return nil, err
	}
	unlock, err := s.beginImport(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	staged, err := s.stageMade(ctx, o.Layer)
	if err != nil {
		return nil, err
	}
	p, err := madePlan(parent, manifest, o.History, staged)
	if err != nil {
		return nil, errors.Join(err, s.dropStaged(staged))
	}
	done := s.markLayers()
	mark := &mark{root: s.root}
	if err := errors.Join(s.keepMade(ctx, p, staged, mark), mark.settle()); err != nil {
		return nil, err
	}
	names, err := p.names(ImportOptions{Names: o.Names})
	if err != nil {
		return nil, err
	}
	record, err := s.commit(p, names, ImportOptions{Local: true, Comment: o.History.Comment})
	if err == nil {
		done()
	}
	return record, err
}

// parent reads configuration and manifest of the image below.
func (s *Store) parent(id string) (*image.Config, *v1.Manifest, error) {
	if id == "" {
		return &image.Config{}, &v1.Manifest{}, nil
	}
	found, err := s.find(id, "")
	if err != nil {
		return nil, nil, err
	}
	stored, err := s.newStoredImage(found)
	if err != nil {
		return nil, nil, fmt.Errorf("image %.12s: %w", id, err)
	}
	config, err := image.ParseConfig(stored.config)
	if err != nil {
		return nil, nil, err
	}
	m := new(v1.Manifest)
	return config, m, json.Unmarshal(stored.manifest, m)
}

// made is a staged layer; nil output: there was nothing in it.
type made struct {
	output *drivers.DriverWithDifferOutput
	diffID string
	size   int64 // of the archive
}

// stageMade unpacks the layer as it is written into a directory that nothing
// refers to yet.
func (s *Store) stageMade(ctx context.Context, layer func(io.Writer) (bool, error)) (*made, error) {
	unlock, err := s.locks.take(ctx, lockStaging, false)
	if err != nil {
		return nil, err
	}
	d := &maker{ctx: ctx, store: s, layer: layer, staged: sync.OnceFunc(unlock)}
	output, err := s.storage.PrepareStagedLayer(nil, d)
	d.staged()
	m := &made{output: output, diffID: d.diffID, size: d.size}
	if err == nil && !d.any {
		err = s.dropStaged(m)
		m.output = nil
		return m, err
	}
	if err != nil {
		if output != nil && output.Target != "" {
			err = errors.Join(err, s.storage.CleanupStagedLayer(output))
		}
		return nil, fmt.Errorf("new layer: %w", err)
	}
	return m, nil
}

func (s *Store) dropStaged(m *made) error {
	if m.output == nil || m.output.Target == "" {
		return nil
	}
	return s.storage.CleanupStagedLayer(m.output)
}

// maker is how the storage library calls back with the directory to fill.
type maker struct {
	ctx    context.Context
	store  *Store
	layer  func(io.Writer) (bool, error)
	staged func()

	any    bool
	diffID string
	size   int64
}

func (d *maker) Close() error { return nil }

// ApplyDiff fills dest. Called by the storage library, without its locks.
func (d *maker) ApplyDiff(dest string, _ *archive.TarOptions, _ *drivers.DifferOptions) (drivers.DriverWithDifferOutput, error) {
	d.staged()
	notes, err := nameless(filepath.Dir(dest))
	if err != nil {
		return drivers.DriverWithDifferOutput{}, err
	}
	options := d.store.unpack
	options.TarSplit = notes
	result, err := d.fill(dest, options)
	if err != nil {
		notes.Close()
		return drivers.DriverWithDifferOutput{}, err
	}
	return unpacked(d, result, notes, d.size, d.diffID, d.diffID), nil
}

func (d *maker) fill(dest string, options unpack.Options) (*unpack.Result, error) {
	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() {
		buffered := bufio.NewWriterSize(writer, 1<<20)
		any, err := d.layer(buffered)
		if err == nil {
			err = buffered.Flush()
		}
		d.any = any
		writer.CloseWithError(err)
		written <- err
	}()
	sum := &summer{Hash: sha256.New()}
	belt := newBelt(reader, func(p []byte) { sum.Write(p) })
	result, err := unpack.Unpack(d.ctx, belt, dest, options)
	reader.CloseWithError(errors.New("unpacking ended"))
	belt.close()
	<-belt.done
	if theirs := <-written; theirs != nil && (err == nil || errors.Is(err, theirs)) {
		err = theirs
	}
	d.diffID, d.size = "sha256:"+hex.EncodeToString(sum.Sum(nil)), sum.n
	return result, err
}

type summer struct {
	hash.Hash
	n int64
}

func (s *summer) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return s.Hash.Write(p)
}

// madePlan is the plan of the new image.
func madePlan(config *image.Config, manifest *v1.Manifest, step image.History, m *made) (*plan, error) {
	step.EmptyLayer = m.output == nil
	config.History = append(slices.Clone(config.History), step)
	if !step.EmptyLayer {
		hash, err := v1.NewHash(m.diffID)
		if err != nil {
			return nil, err
		}
		config.DiffIDs = append(slices.Clone(config.DiffIDs), m.diffID)
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: m.size, Digest: hash})
	}
	blob, err := image.NewBlob(config)
	if err != nil {
		return nil, err
	}
	p := &plan{config: blob}
	hash, err := v1.NewHash(digestOf(blob))
	if err != nil {
		return nil, err
	}
	manifest.SchemaVersion, manifest.MediaType = 2, types.OCIManifestSchema1
	manifest.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(blob)), Digest: hash}
	if p.manifest, err = json.Marshal(manifest); err != nil {
		return nil, err
	}
	descriptors, err := p.readManifest()
	if err != nil {
		return nil, err
	}
	if err := p.readConfig(descriptors.Config); err != nil {
		return nil, err
	}
	return p, p.addMade(descriptors.Layers)
}

func (p *plan) addMade(layers []descriptor) error {
	if len(layers) != len(p.parsed.DiffIDs) {
		return fmt.Errorf("%w: %d layers, the configuration has %d", ErrInvalid, len(layers), len(p.parsed.DiffIDs))
	}
	parent := ""
	for i, diffID := range p.parsed.DiffIDs {
		parent = layerID(parent, diffID)
		p.layers = append(p.layers, planLayer{digest: layers[i].Digest, size: layers[i].Size, diffID: diffID, id: parent})
	}
	return nil
}

// keepMade makes the staged layer one of the store's, on top of those that must
// be there.
func (s *Store) keepMade(ctx context.Context, p *plan, m *made, mark *mark) error {
	old := p.layers
	if m.output != nil {
		old = p.layers[:len(p.layers)-1]
	}
	for _, layer := range old {
		if !s.has(layer.id) {
			return errors.Join(fmt.Errorf("layer %.12s is gone from the store", layer.id), s.dropStaged(m))
		}
	}
	if m.output == nil {
		return nil
	}
	top := &p.layers[len(old)]
	unlock, err := s.locks.take(ctx, layerByte(top.id), true)
	if err != nil {
		return errors.Join(err, s.dropStaged(m))
	}
	defer unlock()
	if s.has(top.id) {
		return s.dropStaged(m)
	}
	run := &importRun{store: s, plan: p, mark: mark, applied: make([]chan struct{}, len(p.layers))}
	for i := range run.applied {
		run.applied[i] = make(chan struct{})
		close(run.applied[i]) // those below are there
	}
	return run.apply(ctx, len(old), m.output)
}
