package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"bryo/rootfs/reference"
	"bryo/rootfs/registry/conf"
)

const (
	hubDomain = reference.DefaultDomain
	hubHost   = "registry-1.docker.io" // where docker.io's registry really is
)

// session is one registry endpoint and one repository on it, for the length
// of one call.
type session struct {
	ep     conf.Endpoint
	host   string // host[:port] of the URLs
	scheme string // "https", or "http" where that is allowed and needed
	opts   Options
	dialer *dialer
	client *http.Client
	auth   *authorizer
}

// newSession finds out the scheme and the credentials; actions is "pull" or
// "pull,push". No request is made for a registry that must speak https.
func newSession(ctx context.Context, ep conf.Endpoint, actions string, o Options) (*session, error) {
	s := &session{ep: ep, host: urlHost(ep.Ref.Domain), scheme: "https", opts: o}
	var err error
	if s.dialer, err = newDialer(s.host, ep.Insecure, o, actions != "pull"); err != nil {
		return nil, err
	}
	if s.auth, err = newAuthorizer(s, actions); err != nil {
		return nil, err
	}
	s.client = &http.Client{Transport: s, CheckRedirect: checkRedirect}
	if ep.Insecure || isLoopbackName(hostname(s.host)) {
		if err := s.chooseScheme(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func urlHost(domain string) string {
	if domain == hubDomain {
		return hubHost
	}
	return domain
}

func (s *session) close() { s.dialer.close() }

// chooseScheme tries https first and takes plain http only when the server does
// not speak TLS. A bad certificate never leads to http.
func (s *session) chooseScheme(ctx context.Context) error {
	err := s.ping(ctx, "https")
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, cause := explainTLS(err, ""); cause != nil {
		return s.fail("reach", s.ep.Ref.Domain, err)
	}
	if plain := s.ping(ctx, "http"); plain != nil {
		if errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, new(tls.RecordHeaderError)) {
			err = plain
		}
		return s.fail("reach", s.ep.Ref.Domain, err)
	}
	s.scheme = "http"
	return nil
}

// ping makes one unauthenticated request; any HTTP answer will do.
func (s *session) ping(ctx context.Context, scheme string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+s.host+"/v2/", nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", s.opts.UserAgent)
	resp, err := s.dialer.RoundTrip(r)
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

// RoundTrip adds the credentials to requests for the registry's own host, over
// the scheme that was chosen for it. net/http calls it for each redirect, so a
// redirect elsewhere carries none.
func (s *session) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	r.Header.Set("User-Agent", s.opts.UserAgent)
	r.URL.User = nil // net/http would turn it into Basic credentials
	if s.trusted(r.URL) {
		if h := s.auth.header(); h != "" {
			r.Header.Set("Authorization", h)
		}
	}
	return s.dialer.RoundTrip(r)
}

func (s *session) trusted(u *url.URL) bool {
	return u.Scheme == s.scheme && s.dialer.isOwn(u)
}

// request describes one call; it is made again for every try.
type request struct {
	op, what string // for errors: "get manifest", "docker.io/library/debian:13"
	method   string
	url      string
	header   http.Header
	body     func() (io.ReadCloser, error) // nil: none
	length   int64                         // of body; -1: unknown
	ok       []int                         // statuses that are a success
	restart  bool                          // refused connections are retried too: the registry answered before
}

// url of a path below the repository: "manifests/TAG", "blobs/sha256:...".
func (s *session) url(path string) string {
	return s.scheme + "://" + s.host + "/v2/" + s.ep.Ref.Path + "/" + path
}

func (s *session) base(path string) string { return s.scheme + "://" + s.host + path }

// try sends the request once, answering one 401 challenge on the way. The
// caller closes the body. An unexpected status is a *status.
func (s *session) try(ctx context.Context, q request) (*http.Response, error) {
	for asked := false; ; asked = true {
		used := s.auth.header()
		resp, err := s.send(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, code := range q.ok {
			if resp.StatusCode == code {
				return resp, nil
			}
		}
		if resp.StatusCode != http.StatusUnauthorized || asked || !s.trusted(resp.Request.URL) {
			defer resp.Body.Close()
			return nil, s.status(resp)
		}
		challenges := resp.Header.Values("WWW-Authenticate")
		text := s.status(resp)
		resp.Body.Close()
		if err := s.auth.answer(ctx, challenges, used); err != nil {
			if errors.Is(err, errNoChallenge) {
				return nil, text
			}
			return nil, err
		}
	}
}

func (s *session) send(ctx context.Context, q request) (*http.Response, error) {
	var body io.ReadCloser
	if q.body != nil {
		var err error
		if body, err = q.body(); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, q.method, q.url, body)
	if err != nil {
		return nil, hideURL(err)
	}
	if body != nil {
		r.ContentLength = q.length
		r.GetBody = q.body
	}
	for k, v := range q.header {
		r.Header[k] = v
	}
	return s.client.Do(r)
}

// do is try with retries.
func (s *session) do(ctx context.Context, q request) (*http.Response, error) {
	var resp *http.Response
	err := s.retry(ctx, q, func() (err error) {
		resp, err = s.try(ctx, q)
		return err
	})
	return resp, s.fail(q.op, q.what, err)
}

// fetch is do for a body of at most limit bytes, read under the stall timer.
// A body cut short is fetched again.
func (s *session) fetch(ctx context.Context, q request, limit int64) (data []byte, header http.Header, err error) {
	err = s.retry(ctx, q, func() error {
		ctx, alive, stop := withTimeout(ctx, s.opts.StallTimeout+headerTimeout)
		defer stop()
		resp, err := s.try(ctx, q)
		if err != nil {
			return stalled(ctx, err)
		}
		defer resp.Body.Close()
		alive(s.opts.StallTimeout)
		header = resp.Header
		data, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err != nil {
			return stalled(ctx, err)
		}
		if int64(len(data)) > limit {
			return fmt.Errorf("answer is larger than %d bytes: %w", limit, ErrVerify)
		}
		return nil
	})
	return data, header, s.fail(q.op, q.what, err)
}

// drain reads a little so that the connection can be used again.
func drain(resp *http.Response) {
	cut := time.AfterFunc(time.Second, func() { resp.Body.Close() })
	defer cut.Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
}

// proxyName names the proxy that the registry is reached through, without its
// password.
func (s *session) proxyName() string {
	r, err := http.NewRequest(http.MethodGet, s.base("/v2/"), nil)
	if err != nil {
		return ""
	}
	p, err := s.opts.Proxy(r)
	if err != nil || p == nil {
		return ""
	}
	return p.Scheme + "://" + p.Host
}

// certsDir is the folder that the user would put a private authority into.
func (s *session) certsDir() string {
	for _, dir := range s.opts.Dirs.Certs {
		return strings.TrimRight(dir, "/") + "/" + s.ep.Ref.Domain
	}
	return "certs.d/" + s.ep.Ref.Domain
}
