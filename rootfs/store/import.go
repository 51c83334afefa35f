package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"

	"bryo/rootfs/image"
	"bryo/rootfs/patience"
)

// ImportOptions are for Import.
type ImportOptions struct {
	// Names are given to the image, as a person types them or normalized; a name
	// by digest (repo@sha256:...) must be that of the manifest or of Index. With
	// none the image is dangling.
	Names []string
	// Index is the index's bytes that the image was chosen from, if any: names by
	// its digest find the image later.
	Index []byte
	// Local says that the image came from no registry: it gets no names by
	// digest. Set as well if img has a method Local() bool that says so.
	Local bool
	// Comment is kept for inspect.
	Comment string
	// Progress is called from several goroutines; nil for no progress.
	Progress func(Event)
}

// Import brings an image into the store and names it. Every digest, size and count is
// verified, whatever img itself verifies; only the digest of a layer's compressed bytes
// is left to a source that is a verifier. Layers that the store has are not asked for.
// When Import returns, the image is on disk.
//
// Errors wrap ErrInvalid for a bad image, unpack.ErrLimit for one beyond a
// limit; then nothing is kept. After other errors (network, Ctrl-C, full disk)
// layers that were complete and right stay for the next try; Prune removes them.
//
// Several processes may import the same image at once: each layer is fetched by one.
func (s *Store) Import(ctx context.Context, img v1.Image, options ImportOptions) (*image.Record, error) {
	p, err := newPlan(img)
	if err != nil {
		return nil, err
	}
	if local, ok := img.(interface{ Local() bool }); ok {
		options.Local = options.Local || local.Local()
	}
	return s.importPlan(ctx, p, options)
}

func (s *Store) importPlan(ctx context.Context, p *plan, options ImportOptions) (*image.Record, error) {
	names, err := p.names(options)
	if err != nil {
		return nil, err
	}
	unlock, err := s.beginImport(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	done := func() {}
	if options.Local {
		done = s.markLayers()
	}
	mark := &mark{root: s.root}
	// An image that another process removes meanwhile takes along layers that
	// were counted on: then the missing ones are fetched after all.
	var record *image.Record
	for range 20 {
		if err = s.importLayers(ctx, p, mark, options.Progress); err == nil {
			err = mark.settle()
		}
		if err == nil {
			record, err = s.commit(p, names, options)
		}
		if !errors.Is(err, storage.ErrLayerUnknown) {
			break
		}
	}
	if err == nil {
		done()
	} else if ctx.Err() == nil {
		err = errors.Join(err, mark.settle()) // whole layers stay for the next try
	}
	return record, err
}

// beginImport keeps layers that no image has yet from being removed until unlock.
// After a power loss it waits until those that may be torn are gone: an import
// would count on them.
func (s *Store) beginImport(ctx context.Context) (unlock func(), err error) {
	if lostPower(s.root) {
		if err := s.healUnsynced(ctx, true); err != nil {
			return nil, err
		}
	}
	return s.locks.take(ctx, lockImports, false)
}

// names normalizes and checks the names.
func (p *plan) names(options ImportOptions) ([]string, error) {
	var names []string
	for _, ref := range options.Names {
		name, err := image.Normalize(ref)
		if err != nil {
			return nil, err
		}
		if digest := digestIn(name); digest != "" && digest != p.digest && (options.Index == nil || digest != digestOf(options.Index)) {
			return nil, fmt.Errorf("%w: manifest is %s, not %s", ErrInvalid, p.digest, digest)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if options.Index != nil && !indexHas(options.Index, p.digest) {
		return nil, fmt.Errorf("%w: the index does not list manifest %s", ErrInvalid, p.digest)
	}
	return names, nil
}

// importLayers gets all layers of the plan into the store: several at once, each
// applied when the one below is.
func (s *Store) importLayers(ctx context.Context, p *plan, mark *mark, progress func(Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := &importRun{store: s, plan: p, mark: mark, slots: make(chan struct{}, s.parallel()), cancel: cancel}
	run.applied = make([]chan struct{}, len(p.layers))
	for i := range run.applied {
		run.applied[i] = make(chan struct{})
	}
	var group sync.WaitGroup
	for i := range p.layers {
		report := &meterLayer{report: progress, event: Event{Layer: p.layers[i].digest, Index: i, Layers: len(p.layers), Total: p.layers[i].size}}
		report.state(Waiting)
		// Slots are given bottom up, so that no layer waits for one without a slot.
		if !run.acquire(ctx) {
			break
		}
		group.Go(func() {
			if err := guarded(func() error { return run.layer(ctx, i, report) }); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		if errors.Is(err, ErrInvalid) {
			run.undo()
		}
		return err
	}
	return nil
}

// guarded turns a panic of a goroutine into its error: the storage library panics where it
// gets no descriptor for one of its locks, and nobody else could catch that.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("image store: %v", p)
		}
	}()
	return do()
}

func (s *Store) parallel() int {
	if s.options.Parallel > 0 {
		return s.options.Parallel
	}
	return 3
}

// importRun is one pass over the layers of a plan.
type importRun struct {
	store   *Store
	plan    *plan
	slots   chan struct{}
	applied []chan struct{} // closed when the layer is in the store
	cancel  context.CancelCauseFunc

	mutex sync.Mutex
	mark  *mark
	made  []string // layers that this run applied
}

func (r *importRun) acquire(ctx context.Context) bool {
	select {
	case r.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// layer brings one layer in, under its lock: other processes that want it wait
// and then find it there. The slot is given back when the layer is unpacked.
func (r *importRun) layer(ctx context.Context, i int, report *meterLayer) error {
	free := sync.OnceFunc(func() { <-r.slots })
	defer free()
	layer := &r.plan.layers[i]
	unlock, err := r.lock(ctx, layer)
	if err != nil {
		return err
	}
	defer unlock()
	if r.store.has(layer.id) {
		report.state(Present)
		close(r.applied[i])
		return nil
	}
	if err := r.awaitTwin(ctx, i); err != nil {
		return err
	}
	staged, err := r.store.stage(ctx, layer, report)
	if err != nil {
		return err
	}
	free()
	report.state(Syncing)
	if err := r.apply(ctx, i, staged); err != nil {
		return err
	}
	report.state(Done)
	close(r.applied[i])
	return nil
}

// lock waits for a layer's lock as long as its holder gets on. Without the lock the
// layer is made twice, and apply takes the one that came first.
func (r *importRun) lock(ctx context.Context, layer *planLayer) (unlock func(), err error) {
	p := patience.New(func() int64 { return r.store.options.Fetched(layer.digest) }, layerPatience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if unlock, err := r.store.locks.try(layerByte(layer.id), true); unlock != nil || err != nil {
			return unlock, err
		}
		if p.IsOver() {
			return func() {}, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// layerPatience is how long the holder of a layer's lock may seem to do nothing. It
// may be waiting for layers below, or for the disk.
var layerPatience = time.Minute

// awaitTwin waits for an equal layer further down in the same image, usually an
// empty one, to be taken from there instead of being fetched twice.
func (r *importRun) awaitTwin(ctx context.Context, i int) error {
	for below := range i {
		if r.plan.layers[below].diffID == r.plan.layers[i].diffID {
			return r.await(ctx, below)
		}
	}
	return nil
}

func (r *importRun) await(ctx context.Context, i int) error {
	select {
	case <-r.applied[i]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// apply makes a staged layer one of the store's, after its parent.
func (r *importRun) apply(ctx context.Context, i int, staged *drivers.DriverWithDifferOutput) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, r.store.storage.CleanupStagedLayer(staged))
		}
	}()
	if err := r.markUnsynced(); err != nil {
		return err
	}
	parent := ""
	if i > 0 {
		if err := r.await(ctx, i-1); err != nil {
			return err
		}
		parent = r.plan.layers[i-1].id
	}
	_, err = r.store.storage.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: r.plan.layers[i].id, ParentLayer: parent, DiffOutput: staged, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
	})
	if errors.Is(err, storage.ErrDuplicateID) && r.store.has(r.plan.layers[i].id) {
		return r.store.storage.CleanupStagedLayer(staged) // see lock
	}
	if err != nil {
		return fmt.Errorf("layer %.19s: %w", r.plan.layers[i].digest, err)
	}
	r.mutex.Lock()
	r.made = append(r.made, r.plan.layers[i].id)
	r.mutex.Unlock()
	// What is left of the staging directory.
	return r.store.storage.CleanupStagedLayer(staged)
}

func (r *importRun) markUnsynced() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.mark.make()
}

// undo removes what this run applied, topmost first. A layer that somebody else
// has built on, or has begun to count on, stays or is fetched again by them.
func (r *importRun) undo() {
	for _, layer := range slices.Backward(r.plan.layers) {
		if slices.Contains(r.made, layer.id) {
			r.store.storage.DeleteLayer(layer.id)
		}
	}
}

func (s *Store) has(layer string) bool {
	found, err := s.storage.Layer(layer)
	return err == nil && found.ID == layer
}
