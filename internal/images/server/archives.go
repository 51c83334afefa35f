package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"bryo/internal/images"
	"bryo/internal/linux"
	"bryo/rootfs/archive"
	"bryo/rootfs/image"
	"bryo/rootfs/reference"
	"bryo/rootfs/registry"
	"bryo/rootfs/registry/progress"
	"bryo/rootfs/store"
)

// makeHello serves `run hello` on a machine that reaches no registry: the image
// is made from the program that called.
func (r *role) makeHello(ctx context.Context) (*images.PullResult, error) {
	img, err := archive.Hello("/proc/self/fd/" + strconv.Itoa(images.CallerFile))
	if err != nil {
		return nil, err
	}
	defer img.Close()
	record, err := r.store.Import(ctx, img, store.ImportOptions{Names: []string{hello}})
	return &images.PullResult{Record: record, Updated: true}, err
}

func (r *role) pullArchive(ctx context.Context, transport, place string, a images.PullArgs) (*images.PullResult, error) {
	source, err := archive.Open(transport+":"+place, archive.Options{Platform: a.Platform, TempDir: r.partialDir()})
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if len(source.Images) != 1 {
		return nil, fmt.Errorf("%s:%s holds %d images: load it, or name one", transport, place, len(source.Images))
	}
	record, err := r.store.Import(ctx, source.Images[0], store.ImportOptions{})
	return &images.PullResult{Record: record, Updated: true}, err
}

func load(ctx context.Context, r *role) (any, error) {
	a, err := args[images.LoadArgs](r)
	if err != nil {
		return nil, err
	}
	var source *archive.Archive
	options := archive.Options{Platform: a.Platform, TempDir: r.partialDir()}
	if a.Path == "" {
		source, err = archive.Read(os.Stdin, options)
	} else {
		source, err = archive.Open(a.Path, options)
	}
	if err != nil {
		return nil, err
	}
	defer source.Close()
	var result images.LoadResult
	for _, img := range source.Images {
		record, err := r.store.Import(ctx, img, store.ImportOptions{Names: img.Names})
		if err != nil {
			return nil, err
		}
		result.Loaded = append(result.Loaded, loaded(img.Names, record)...)
	}
	return result, nil
}

func loaded(names []string, record *image.Record) (lines []string) {
	for _, name := range names {
		if ref, err := reference.Parse(name); err == nil {
			name = ref.Familiar()
		}
		lines = append(lines, "Loaded image: "+name)
	}
	if len(lines) == 0 {
		lines = append(lines, "Loaded image ID: sha256:"+record.ID)
	}
	return lines
}

func importTar(ctx context.Context, r *role) (any, error) {
	a, err := args[images.ImportArgs](r)
	if err != nil {
		return nil, err
	}
	if strings.Contains(a.Reference, "@") {
		return nil, errors.New("cannot import digest reference")
	}
	in, err := importSource(ctx, a.Path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	img, err := archive.Import(in, archive.ImportOptions{
		Changes: a.Changes, Message: a.Message, Platform: a.Platform, TempDir: r.partialDir(),
	})
	if err != nil {
		return nil, err
	}
	defer img.Close()
	var names []string
	if a.Reference != "" {
		names = []string{a.Reference}
	}
	record, err := r.store.Import(ctx, img, store.ImportOptions{Names: names, Comment: a.Message})
	if err != nil {
		return nil, err
	}
	return images.ImportResult{ID: record.ID}, nil
}

// importSource opens a file, standard input, or what a URL leads to.
func importSource(ctx context.Context, path string) (io.ReadCloser, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	if !strings.HasPrefix(path, "http://") && !strings.HasPrefix(path, "https://") {
		return os.Open(path)
	}
	return fetch(ctx, path)
}

// fetch opens a URL. A server that is silent for too long is given up.
func fetch(ctx context.Context, url string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stalled := fmt.Errorf("get %s: the server sends nothing any more", url)
	body := &patientBody{timer: time.AfterFunc(patience, func() { cancel(stalled) }), ctx: ctx}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("get %s: %s", url, answer.Status)
	}
	body.ReadCloser = answer.Body
	return body, nil
}

const patience = time.Minute

// patientBody counts the time that the server takes, not its reader's.
type patientBody struct {
	io.ReadCloser
	ctx   context.Context
	timer *time.Timer
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.timer.Reset(patience)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF {
		err = cmp.Or(context.Cause(b.ctx), err)
	}
	return n, err
}

// save writes images as docker save does.
func save(ctx context.Context, r *role) (any, error) {
	a, err := args[images.SaveArgs](r)
	if err != nil {
		return nil, err
	}
	var list []archive.SaveImage
	for _, name := range a.References {
		img, names, err := r.stored(name, a.Platform)
		if err != nil {
			return nil, err
		}
		list = append(list, archive.SaveImage{Image: img, Names: names})
	}
	if a.Path == "" {
		return nil, archive.Save(ctx, os.Stdout, list)
	}
	return nil, linux.WriteWhole(a.Path, func(out *os.File) error { return archive.Save(ctx, out, list) })
}

// push uploads one name, or all tags of its repository.
func push(ctx context.Context, r *role) (any, error) {
	a, err := args[images.PushArgs](r)
	if err != nil {
		return nil, err
	}
	refs, err := r.pushTargets(a)
	if err != nil {
		return nil, err
	}
	var result images.PushResult
	for _, ref := range refs {
		digest, err := r.pushOne(ctx, ref, a)
		if err != nil {
			return nil, err
		}
		result.Digests = append(result.Digests, digest)
	}
	return result, nil
}

func (r *role) pushTargets(a images.PushArgs) ([]reference.Reference, error) {
	if !a.AllTags {
		ref, err := reference.Parse(a.Reference)
		return []reference.Reference{ref}, err
	}
	name, err := reference.ParseName(a.Reference)
	if err != nil {
		return nil, err
	}
	if !name.IsNameOnly() {
		return nil, errors.New("tag can't be used with --all-tags/-a")
	}
	list, err := image.List(r.request.Root)
	if err != nil {
		return nil, err
	}
	var refs []reference.Reference
	for _, img := range list {
		for _, n := range img.Names {
			if ref, err := reference.Parse(n); err == nil && ref.Name() == name.Name() {
				refs = append(refs, ref)
			}
		}
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("An image does not exist locally with the tag: %s", name.FamiliarName())
	}
	return refs, nil
}

func (r *role) pushOne(ctx context.Context, ref reference.Reference, a images.PushArgs) (string, error) {
	img, found, err := r.store.Image(ref.String(), a.Platform)
	if err != nil {
		return "", fmt.Errorf("An image does not exist locally with the tag: %s", ref.FamiliarName())
	}
	view := progress.New(progress.Options{Out: os.Stdout, Terminal: os.Stderr, Quiet: a.Quiet})
	defer view.Close()
	view.Pushing(ref)
	o := registry.Options{Platform: a.Platform, PartialDir: r.partialDir(), Progress: view, MountFrom: r.neighbours(ref, found)}
	out, err := r.prepare(ctx, img, found, ref, o)
	if err != nil {
		return "", err
	}
	defer out.close()
	sent, err := partial.CompressedToImage(out)
	if err != nil {
		return "", err
	}
	digest, err := registry.Push(ctx, ref, sent, o)
	if err != nil {
		return "", err
	}
	view.Pushed(ref, digest, int64(len(out.manifest)))
	return digest.String(), nil
}

// stored is an image of the store with the names that go into an archive: the
// one that was asked for by name, all of them when it was by ID.
func (r *role) stored(ref, platform string) (v1.Image, []string, error) {
	img, found, err := r.store.Image(ref, platform)
	if err != nil {
		return nil, nil, err
	}
	if name, err := image.Normalize(ref); err == nil {
		for _, n := range found.Names {
			if n == name {
				parsed, err := reference.Parse(name)
				return img, []string{parsed.Familiar()}, err
			}
		}
	}
	return img, found.RepoTags(), nil
}
