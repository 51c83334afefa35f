package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"bryo/rootfs/reference"
)

// maxMounts bounds how many repositories are asked for a layer before it is
// uploaded.
const maxMounts = 3

// Push uploads what the registry lacks, then the manifest, and returns its
// digest. Mirrors are never pushed to. Foreign layers stay where they are.
func Push(ctx context.Context, ref reference.Reference, img v1.Image, o Options) (v1.Hash, error) {
	o, ref = o.withDefaults(), tagged(ref)
	var digest v1.Hash
	err := o.onOrigin(ctx, ref, "pull,push", func(s *session) (err error) {
		s.auth.mount = o.MountFrom
		digest, err = s.pushImage(ctx, img, s.ep.Ref.Identifier())
		return err
	})
	return digest, err
}

// PushIndex pushes every image of an index by digest, then the index itself.
func PushIndex(ctx context.Context, ref reference.Reference, index v1.ImageIndex, o Options) (v1.Hash, error) {
	o, ref = o.withDefaults(), tagged(ref)
	var digest v1.Hash
	err := o.onOrigin(ctx, ref, "pull,push", func(s *session) (err error) {
		s.auth.mount = o.MountFrom
		digest, err = s.pushIndex(ctx, index, s.ep.Ref.Identifier(), 0)
		return err
	})
	return digest, err
}

// PutManifest stores a ready manifest or index under ref (manifest push). The
// registry must have what it names.
func PutManifest(ctx context.Context, ref reference.Reference, m Manifest, o Options) (v1.Hash, error) {
	o, ref = o.withDefaults(), tagged(ref)
	var digest v1.Hash
	err := o.onOrigin(ctx, ref, "pull,push", func(s *session) (err error) {
		digest, err = s.putManifest(ctx, s.ep.Ref.Identifier(), m.MediaType, m.Raw)
		return err
	})
	return digest, err
}

func (s *session) pushIndex(ctx context.Context, index v1.ImageIndex, id string, depth int) (v1.Hash, error) {
	if depth == maxIndexDepth {
		return v1.Hash{}, fmt.Errorf("push index: more than %d indexes inside each other", maxIndexDepth)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	for _, d := range list.Manifests {
		if err := s.pushChild(ctx, index, d, depth); err != nil {
			return v1.Hash{}, err
		}
	}
	raw, err := index.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	kind, err := index.MediaType()
	if err != nil {
		return v1.Hash{}, err
	}
	return s.putManifest(ctx, id, kind, raw)
}

func (s *session) pushChild(ctx context.Context, index v1.ImageIndex, d v1.Descriptor, depth int) error {
	switch {
	case d.MediaType.IsImage():
		img, err := index.Image(d.Digest)
		if err == nil {
			_, err = s.pushImage(ctx, img, d.Digest.String())
		}
		return err
	case d.MediaType.IsIndex():
		child, err := index.ImageIndex(d.Digest)
		if err == nil {
			_, err = s.pushIndex(ctx, child, d.Digest.String(), depth+1)
		}
		return err
	}
	return fmt.Errorf("push index: %s has media type %q: %w", d.Digest, d.MediaType, ErrUnsupported)
}

func (s *session) pushImage(ctx context.Context, img v1.Image, id string) (v1.Hash, error) {
	raw, err := img.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	kind, err := img.MediaType()
	if err != nil {
		return v1.Hash{}, err
	}
	if err := s.pushBlobs(ctx, img); err != nil {
		return v1.Hash{}, err
	}
	return s.putManifest(ctx, id, kind, raw)
}

// pushBlobs uploads layers and config, each digest once, a few at a time.
func (s *session) pushBlobs(ctx context.Context, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	config, err := configBlob(img)
	if err != nil {
		return err
	}
	blobs := map[v1.Hash]blob{config.digest: config}
	for _, l := range layers {
		b, err := layerBlob(l)
		if err != nil {
			return err
		}
		if b.kind.IsDistributable() {
			blobs[b.digest] = b
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.opts.Parallel)
	for _, b := range blobs {
		group.Go(func() error {
			err := s.pushBlob(ctx, b)
			s.opts.Progress.Done(b.digest.String(), err)
			return err
		})
	}
	return group.Wait()
}

// blob is something to upload; open may be called again for each try.
type blob struct {
	digest v1.Hash
	size   int64
	kind   types.MediaType
	open   func() (io.ReadCloser, error)
}

func layerBlob(l v1.Layer) (b blob, err error) {
	b.open = l.Compressed
	if b.digest, err = l.Digest(); err != nil {
		return b, err
	}
	if b.size, err = l.Size(); err != nil {
		return b, err
	}
	b.kind, err = l.MediaType()
	return b, err
}

func configBlob(img v1.Image) (blob, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return blob{}, err
	}
	digest, err := img.ConfigName()
	return blob{digest: digest, size: int64(len(raw)), open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}}, err
}

// pushBlob skips what is there, mounts what another repository has, and
// uploads the rest. A failed upload starts anew: few registries can resume.
func (s *session) pushBlob(ctx context.Context, b blob) error {
	id := b.digest.String()
	found, err := s.hasBlob(ctx, id)
	if err != nil {
		return err
	}
	if found {
		s.opts.Progress.Start(id, b.size, b.size)
		return nil
	}
	mounted, err := s.mountBlob(ctx, id)
	if err != nil || mounted {
		return err
	}
	q := request{op: "upload blob", what: id, restart: true}
	return s.fail(q.op, q.what, s.retry(ctx, q, func() error { return s.upload(ctx, b) }))
}

func (s *session) hasBlob(ctx context.Context, id string) (bool, error) {
	resp, err := s.do(ctx, request{op: "look for blob", what: id, method: http.MethodHead, url: s.url("blobs/" + id), ok: []int{http.StatusOK}})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// mountBlob asks the registry to take the blob from another of its
// repositories. A refusal is no error: then it is uploaded.
func (s *session) mountBlob(ctx context.Context, id string) (bool, error) {
	for _, from := range s.opts.MountFrom {
		if from == s.ep.Ref.Path {
			continue
		}
		query := url.Values{"mount": {id}, "from": {from}}
		resp, err := s.try(ctx, request{method: http.MethodPost, url: s.url("blobs/uploads/") + "?" + query.Encode(),
			ok: []int{http.StatusCreated, http.StatusAccepted}})
		if err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			continue
		}
		drain(resp)
		if resp.StatusCode == http.StatusCreated {
			s.opts.Progress.Start(id, 0, 0)
			return true, nil
		}
		s.cancelUpload(ctx, resp)
	}
	return false, nil
}

// cancelUpload ends the upload that a registry opens when it cannot mount.
func (s *session) cancelUpload(ctx context.Context, resp *http.Response) {
	if where, err := s.location(resp); err == nil && s.trusted(where) {
		if resp, err := s.try(ctx, request{method: http.MethodDelete, url: where.String(), ok: []int{http.StatusNoContent, http.StatusAccepted}}); err == nil {
			resp.Body.Close()
		}
	}
}

// upload is POST, PATCH with the bytes, PUT with the digest.
func (s *session) upload(ctx context.Context, b blob) error {
	resp, err := s.try(ctx, request{method: http.MethodPost, url: s.url("blobs/uploads/"), ok: []int{http.StatusAccepted}})
	if err != nil {
		return err
	}
	drain(resp)
	where, err := s.location(resp)
	if err != nil {
		return err
	}
	s.opts.Progress.Start(b.digest.String(), b.size, 0)
	if where, err = s.sendBlob(ctx, where, b); err != nil {
		return err
	}
	query := where.Query()
	query.Set("digest", b.digest.String())
	where.RawQuery = query.Encode()
	resp, err = s.try(ctx, request{method: http.MethodPut, url: where.String(),
		ok: []int{http.StatusCreated, http.StatusNoContent}})
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

// sendBlob sends the bytes of one blob under the stall timer and returns where
// the upload is completed.
func (s *session) sendBlob(ctx context.Context, where *url.URL, b blob) (*url.URL, error) {
	ctx, alive, stop := withTimeout(ctx, s.opts.StallTimeout+headerTimeout)
	defer stop()
	q := request{method: http.MethodPatch, url: where.String(), length: b.size,
		header: http.Header{"Content-Type": {"application/octet-stream"}}, ok: []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated}}
	q.body = func() (io.ReadCloser, error) {
		body, err := b.open()
		if err != nil {
			return nil, err
		}
		return &uploadBody{ReadCloser: body, moved: func(n int, end bool) {
			s.opts.Progress.Advance(b.digest.String(), int64(n))
			if end {
				alive(uploadTimeout)
			} else {
				alive(s.opts.StallTimeout)
			}
		}}, nil
	}
	resp, err := s.try(ctx, q)
	if err != nil {
		return nil, stalled(ctx, err)
	}
	drain(resp)
	return s.location(resp)
}

type uploadBody struct {
	io.ReadCloser
	moved func(n int, end bool)
}

func (u *uploadBody) Read(b []byte) (int, error) {
	n, err := u.ReadCloser.Read(b)
	u.moved(n, err != nil)
	return n, err
}

// location is where an upload goes on. A registry behind a proxy may give its
// own host with the wrong scheme: that is set right. Another host gets the
// bytes but no credentials (RoundTrip), and never over plain http from https.
func (s *session) location(resp *http.Response) (*url.URL, error) {
	where, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("upload location: %w", hideURL(err))
	}
	if s.dialer.isOwn(where) || canonicalHost(s.scheme, where.Host) == canonicalHost(s.scheme, s.host) {
		where.Scheme = s.scheme
	}
	if where.Scheme != "https" && s.scheme == "https" {
		return nil, fmt.Errorf("upload location %s://%s is not encrypted: %w", clean(where.Scheme, 20), clean(where.Host, 100), ErrRefused)
	}
	where.User = nil
	return where, nil
}

// putManifest stores a manifest and checks that the registry counts the same
// digest.
func (s *session) putManifest(ctx context.Context, id string, kind types.MediaType, raw []byte) (v1.Hash, error) {
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return digest, err
	}
	q := request{op: "put manifest", what: s.name(id), method: http.MethodPut, url: s.url("manifests/" + id),
		header: http.Header{"Content-Type": {string(kind)}}, length: int64(len(raw)),
		body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
		ok:   []int{http.StatusCreated, http.StatusAccepted, http.StatusOK}}
	resp, err := s.do(ctx, q)
	if err != nil {
		return digest, err
	}
	drain(resp)
	if got, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest")); err == nil && got.Algorithm == digest.Algorithm && got != digest {
		return digest, s.fail(q.op, q.what, fmt.Errorf("the registry stored %s, sent was %s: %w", got, digest, ErrVerify))
	}
	return digest, nil
}

// Offer asks for blobs that are not here to be sent: it returns those that the
// registry neither has in ref's repository nor takes from o.MountFrom.
func Offer(ctx context.Context, ref reference.Reference, blobs []v1.Hash, o Options) (missing map[v1.Hash]bool, err error) {
	o, ref = o.withDefaults(), tagged(ref)
	missing = map[v1.Hash]bool{}
	err = o.onOrigin(ctx, ref, "pull,push", func(s *session) error {
		s.auth.mount = o.MountFrom
		for _, digest := range blobs {
			found, err := s.hasBlob(ctx, digest.String())
			if err == nil && !found {
				found, err = s.mountBlob(ctx, digest.String())
			}
			if err != nil {
				return err
			}
			if !found {
				missing[digest] = true
			}
		}
		return nil
	})
	return missing, err
}
