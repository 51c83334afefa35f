// Package registry talks to Docker v2 / OCI registries: pull, push, tags,
// manifests, login, search.
//
// Start with Pull: policy, then the endpoints of registries.conf, then one
// session per endpoint (session.go) which authenticates (auth.go), retries
// (retry.go) and dials under the rules of transport.go. A layer's bytes come
// through a spool (spool.go), a partial file that survives a killed pull.
//
// The image types are those of go-containerregistry. Its remote package is not
// used: resuming, back-off that can be shown, stalled reads, token realms and
// mirrors would all have to be built around it, and its names exclude
// repositories of one letter.
//
// Every byte from a registry is hostile until its digest is checked. What is
// bounded and refused is listed in docs/registries.md.
//
// It leaves out: unpacking and names (rootfs/store), archives
// (rootfs/archive), signatures (a policy that asks for them refuses), schema 1
// images, and layers that live at foreign URLs only.
package registry

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"time"

	"bryo/rootfs/reference"
	"bryo/rootfs/registry/conf"
	"bryo/rootfs/registry/credential"
)

// Options are shared by all calls; the zero value works.
type Options struct {
	Platform   string                 // "linux/arm64/v8"; empty: this machine's
	Auth       *credential.Credential // nil: looked up in the auth files
	Insecure   bool                   // plain http and unverified TLS for this call (--insecure, --tls-verify=false)
	PartialDir string                 // where interrupted blobs and the locks live; empty: nothing is kept
	Parallel   int                    // blobs moved at once; 0: 3, as docker
	Progress   Progress               // nil: silent

	MountFrom []string // Push: repositories ("library/debian") of the same registry that may already have the layers

	Dirs      *conf.Dirs        // nil: conf.DefaultDirs
	Files     *credential.Files // nil: credential.DefaultFiles
	UserAgent string            // empty: "bryo"

	RetryDelay   time.Duration // first back-off; 0: 500 ms
	StallTimeout time.Duration // a body that moves less than 1 kB in this time is cut and resumed; 0: 30 s

	// Proxy picks the proxy of a request; nil: HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
	Proxy func(*http.Request) (*url.URL, error)
}

// Progress hears about the moving of blobs. Methods are called from several
// goroutines; blob is a digest.
type Progress interface {
	Start(blob string, size, have int64)                // have bytes came from an interrupted pull
	Advance(blob string, n int64)                       // n more bytes moved
	Retry(what string, cause error, wait time.Duration) // waiting before another try
	Note(line string)                                   // one line worth knowing: a mirror that failed, a lock waited for
	Done(blob string, err error)                        // moved and verified, or given up
}

// silent is the Progress of Options without one.
type silent struct{}

func (silent) Start(string, int64, int64)         {}
func (silent) Advance(string, int64)              {}
func (silent) Retry(string, error, time.Duration) {}
func (silent) Note(string)                        {}
func (silent) Done(string, error)                 {}

func (o Options) withDefaults() Options {
	if o.Progress == nil {
		o.Progress = silent{}
	}
	o.MountFrom = o.MountFrom[:min(len(o.MountFrom), maxMounts)]
	if o.Parallel <= 0 {
		o.Parallel = 3
	}
	if o.Dirs == nil {
		d := conf.DefaultDirs()
		o.Dirs = &d
	}
	if o.Files == nil {
		f := credential.DefaultFiles(os.Getuid())
		o.Files = &f
	}
	if o.UserAgent == "" {
		o.UserAgent = "bryo"
	}
	if o.RetryDelay <= 0 {
		o.RetryDelay = 500 * time.Millisecond
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = 30 * time.Second
	}
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	return o
}

// endpoints applies registries.conf to ref.
func (o Options) endpoints(ref reference.Reference) ([]conf.Endpoint, error) {
	registries, err := conf.LoadRegistries(*o.Dirs)
	if err != nil {
		return nil, err
	}
	all, err := registries.Endpoints(ref)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Insecure = all[i].Insecure || o.Insecure
	}
	return all, nil
}

// onOrigin runs f on the registry itself, never on a mirror.
func (o Options) onOrigin(ctx context.Context, ref reference.Reference, actions string, f func(*session) error) error {
	all, err := o.endpoints(ref)
	if err != nil {
		return err
	}
	s, err := newSession(ctx, all[len(all)-1], actions, o)
	if err != nil {
		return err
	}
	defer s.close()
	return f(s)
}

// onAny runs f on each endpoint in turn until one succeeds. A mirror's failure
// is noted; the error is the registry's own.
func (o Options) onAny(ctx context.Context, ref reference.Reference, f func(*session) error) error {
	all, err := o.endpoints(ref)
	if err != nil {
		return err
	}
	for _, e := range all {
		var s *session
		if s, err = newSession(ctx, e, "pull", o); err == nil {
			err = f(s)
			s.close()
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if e.Mirror {
			o.Progress.Note("mirror " + e.Ref.Domain + ": " + err.Error())
		}
	}
	return err
}
