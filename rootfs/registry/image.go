package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	v1partial "github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bryo/rootfs/patience"
	"bryo/rootfs/reference"
	"bryo/rootfs/registry/conf"
)

// Image is a remote image, pinned to its manifest's digest. Manifest and
// config are here and verified; layers are fetched when Compressed is called.
//
// Close it after the import has been committed, not before: until then other
// processes that pull the same image wait, and afterwards find it in the
// store.
type Image struct {
	ref      reference.Reference
	platform v1.Platform
	top      Manifest // what the name stands for: the index the image was chosen from, or man
	man      Manifest
	manifest *v1.Manifest
	raw      []byte
	config   *v1.ConfigFile

	ctx   context.Context
	s     *session
	slots chan struct{}
	lock  *os.File

	mu     sync.Mutex
	spools map[v1.Hash]*spool
}

var _ v1.Image = (*Image)(nil)

// Pull resolves ref to an image of one platform. The bytes of its layers come
// when their Compressed() is read; ctx must live as long. policy.json and
// registries.conf are obeyed; mirrors are tried first.
func Pull(ctx context.Context, ref reference.Reference, o Options) (*Image, error) {
	o, ref = o.withDefaults(), tagged(ref)
	want, err := ParsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	policy, err := conf.LoadPolicy(*o.Dirs)
	if err == nil {
		err = policy.Allow(ref)
	}
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	endpoints, err := o.endpoints(ref)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	for _, e := range endpoints {
		var img *Image
		if img, err = pullFrom(ctx, e, ref, want, o); err == nil {
			return img, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if e.Mirror {
			o.Progress.Note("mirror " + e.Ref.Domain + ": " + err.Error())
		}
	}
	return nil, err
}

// tagged adds docker's default tag to a bare name.
func tagged(ref reference.Reference) reference.Reference {
	if ref.IsNameOnly() {
		ref.Tag = reference.DefaultTag
	}
	return ref
}

func pullFrom(ctx context.Context, e conf.Endpoint, ref reference.Reference, want v1.Platform, o Options) (*Image, error) {
	s, err := newSession(ctx, e, "pull", o)
	if err != nil {
		return nil, err
	}
	top, err := s.manifest(ctx, e.Ref.Identifier(), "")
	if err != nil {
		return nil, err
	}
	m, parsed, err := s.resolve(ctx, top, want)
	if err != nil {
		return nil, err
	}
	img := &Image{ref: ref, top: top, man: m, manifest: parsed, ctx: ctx, s: s,
		slots: make(chan struct{}, o.Parallel), spools: map[v1.Hash]*spool{}}
	if err := img.loadConfig(want, o.Platform != ""); err != nil {
		return nil, err
	}
	return img, img.lockImage()
}

// loadConfig fetches and checks the config: it must list one layer digest per
// layer, and be of the platform that was asked for by name.
func (i *Image) loadConfig(want v1.Platform, strict bool) error {
	d := i.manifest.Config
	q := request{op: "get config", what: i.s.name(d.Digest.String()), method: http.MethodGet,
		url: i.s.url("blobs/" + d.Digest.String()), ok: []int{http.StatusOK}}
	var err error
	if i.raw, _, err = i.s.fetch(i.ctx, q, maxConfig); err != nil {
		return err
	}
	return i.s.fail(q.op, q.what, i.checkConfig(want, strict))
}

func (i *Image) checkConfig(want v1.Platform, strict bool) error {
	d := i.manifest.Config
	if int64(len(i.raw)) != d.Size {
		return sizeError(int64(len(i.raw)), d.Size)
	}
	if _, err := checkDigest(i.raw, d.Digest.String()); err != nil {
		return err
	}
	if err := conf.CheckJSON(i.raw); err != nil {
		return fmt.Errorf("%w: %w", err, ErrVerify)
	}
	i.config = new(v1.ConfigFile)
	if err := json.Unmarshal(i.raw, i.config); err != nil {
		return fmt.Errorf("%w: %w", err, ErrVerify)
	}
	if got := len(i.config.RootFS.DiffIDs); got != len(i.manifest.Layers) {
		return fmt.Errorf("config names %d layers, the manifest %d: %w", got, len(i.manifest.Layers), ErrVerify)
	}
	i.platform = normalPlatform(v1.Platform{OS: i.config.OS, Architecture: i.config.Architecture, Variant: i.config.Variant})
	if strict && i.config.Architecture != "" && rank(i.platform, want) < 0 {
		return platformError(want, "the image is for "+clean(i.platform.String(), 60))
	}
	return nil
}

// lockImage makes one process at a time import an image: 50 pulls at once are
// one download. Another image that shares a blob still goes its way.
func (i *Image) lockImage() error {
	dir := i.s.opts.PartialDir
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, _ = CleanPartial(dir, partialLife) // what an abandoned pull left is no reason to fail this one
	path := filepath.Join(dir, "image-"+i.man.Digest.Hex)
	waiting := sync.OnceFunc(func() {
		i.s.opts.Progress.Note(i.ref.Familiar() + ": waiting for another bryo that pulls it")
	})
	for p := patience.New(i.fetched, imagePatience); ; {
		f, err := openLocked(i.ctx, path, waiting, p)
		if errors.Is(err, patience.ErrStuck) {
			i.s.opts.Progress.Note(i.ref.Familiar() + ": the other bryo does not get on, pulling without it")
			return nil
		}
		if err != nil {
			return fmt.Errorf("lock image: %w", err)
		}
		if isAt(f, path) {
			i.lock = f
			return nil
		}
		f.Close() // its holder finished and unlinked it
	}
}

// fetched is how far any process is with the image's layers.
func (i *Image) fetched() (total int64) {
	for _, d := range i.manifest.Layers {
		total += Fetched(i.s.opts.PartialDir, d.Digest.String())
	}
	return total
}

// Close ends downloads, lets the next process at the image and closes
// connections.
func (i *Image) Close() error {
	i.mu.Lock()
	spools := i.spools
	i.spools = map[v1.Hash]*spool{}
	i.mu.Unlock()
	for _, p := range spools {
		p.cancel()
		<-p.ended
	}
	i.s.close()
	if i.lock == nil {
		return nil
	}
	lock := i.lock
	i.lock = nil
	os.Remove(lock.Name())
	return lock.Close()
}

// Reference is the name that was pulled, as given.
func (i *Image) Reference() reference.Reference { return i.ref }

// Platform is what the config says it runs on.
func (i *Image) Platform() v1.Platform { return i.platform }

// Runnable reports whether this machine runs the image's platform natively.
func (i *Image) Runnable() bool {
	host, err := ParsePlatform("")
	return err == nil && rank(i.platform, host) >= 0
}

// RepoDigest is the digest that docker shows for the name: that of the index
// when there is one, else of the manifest.
func (i *Image) RepoDigest() v1.Hash { return i.top.Digest }

// Index is the text of the index that the name stands for, if it lists the
// image itself; nil for a plain image.
func (i *Image) Index() []byte {
	var index v1.IndexManifest
	if !i.top.IsIndex() || json.Unmarshal(i.top.Raw, &index) != nil {
		return nil
	}
	for _, d := range index.Manifests {
		if d.Digest == i.man.Digest {
			return bytes.Clone(i.top.Raw)
		}
	}
	return nil
}

func (i *Image) MediaType() (types.MediaType, error) { return i.man.MediaType, nil }
func (i *Image) Size() (int64, error)                { return int64(len(i.man.Raw)), nil }
func (i *Image) ConfigName() (v1.Hash, error)        { return i.manifest.Config.Digest, nil }
func (i *Image) ConfigFile() (*v1.ConfigFile, error) { return i.config.DeepCopy(), nil }
func (i *Image) RawConfigFile() ([]byte, error)      { return bytes.Clone(i.raw), nil }
func (i *Image) Digest() (v1.Hash, error)            { return i.man.Digest, nil }
func (i *Image) Manifest() (*v1.Manifest, error)     { return i.manifest.DeepCopy(), nil }
func (i *Image) RawManifest() ([]byte, error)        { return bytes.Clone(i.man.Raw), nil }
func (i *Image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h == i.manifest.Config.Digest {
		return v1partial.ConfigLayer(i)
	}
	return i.layer(func(n int) bool { return i.manifest.Layers[n].Digest == h }, h)
}

func (i *Image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	return i.layer(func(n int) bool { return i.config.RootFS.DiffIDs[n] == h }, h)
}

func (i *Image) layer(is func(int) bool, h v1.Hash) (v1.Layer, error) {
	for n := range i.manifest.Layers {
		if is(n) {
			return i.newLayer(n)
		}
	}
	return nil, fmt.Errorf("image %s has no layer %s", i.ref.Familiar(), h)
}

// Layers are in the manifest's order, the base first.
func (i *Image) Layers() ([]v1.Layer, error) {
	out := make([]v1.Layer, len(i.manifest.Layers))
	for n := range out {
		var err error
		if out[n], err = i.newLayer(n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// newLayer lets go-containerregistry add Uncompressed to layer.
func (i *Image) newLayer(n int) (v1.Layer, error) {
	return v1partial.CompressedToLayer(&layer{img: i, desc: i.manifest.Layers[n], diffID: i.config.RootFS.DiffIDs[n]})
}

// layer is one layer of an Image.
type layer struct {
	img    *Image
	desc   v1.Descriptor
	diffID v1.Hash
}

func (l *layer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *layer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }

// Compressed starts the download, or joins the one that runs, and returns its
// bytes while they arrive. Size and digest are checked before io.EOF is
// returned: a caller that stops earlier has unverified bytes. Foreign layers
// are asked of the registry itself, never of the URLs in the manifest.
func (l *layer) Compressed() (io.ReadCloser, error) {
	i := l.img
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.ctx.Err(); err != nil {
		return nil, err
	}
	if p := i.spools[l.desc.Digest]; p != nil {
		if p.desc.Size != l.desc.Size {
			return nil, fmt.Errorf("layer %s: two sizes in one manifest: %w", l.desc.Digest, ErrVerify)
		}
		if r := p.open(); r != nil {
			return r, nil
		}
	}
	p := newSpool(i.ctx, i.s, l.desc, i.slots)
	i.spools[l.desc.Digest] = p
	return p.open(), nil
}
