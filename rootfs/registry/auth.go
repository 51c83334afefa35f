package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"bryo/rootfs/registry/credential"
)

const (
	maxTokenBody = 64 << 10 // a token server's answer has 1-4 kB
	maxToken     = 32 << 10 // longer than any server's header limit
)

var errNoChallenge = errors.New("no usable challenge")

// authorizer holds the credentials for one registry and the bearer token made
// from them. The scope is always our own: one repository, and the actions of
// this call. What the challenge asks for is ignored.
type authorizer struct {
	s       *session
	actions string
	scopes  []string
	offline bool // ask for a refresh token (login)
	mount   []string

	cred  credential.Credential // for the registry's own host
	realm map[string]credential.Credential

	renewing sync.Mutex // one token request at a time; the others use its result
	mu       sync.Mutex
	value    string // the Authorization header in force
	refresh  string // a refresh token that the token server gave us
	secrets  []string
}

// newAuthorizer looks the credentials up: for the repository, as its namespace
// may have its own.
func newAuthorizer(s *session, actions string) (*authorizer, error) {
	a := &authorizer{s: s, actions: actions, realm: map[string]credential.Credential{}}
	if s.ep.Ref.Path != "" {
		a.scopes = []string{"repository:" + s.ep.Ref.Path + ":" + actions}
	}
	if s.opts.Auth != nil && !s.ep.Mirror {
		a.cred = *s.opts.Auth
	} else {
		var err error
		if a.cred, _, err = s.opts.Files.Lookup(strings.TrimRight(s.ep.Ref.Domain+"/"+s.ep.Ref.Path, "/")); err != nil {
			return nil, err
		}
	}
	a.hide(a.cred)
	if a.cred.RegistryToken != "" {
		a.value = "Bearer " + a.cred.RegistryToken
	}
	return a, nil
}

// header is the Authorization header for the registry's own host, or "".
func (a *authorizer) header() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.value
}

// answer reacts to a 401 that came although the header `used` was sent. When
// another goroutine has renewed it meanwhile, that is enough.
func (a *authorizer) answer(ctx context.Context, lines []string, used string) error {
	a.renewing.Lock()
	defer a.renewing.Unlock()
	if a.header() != used {
		return nil
	}
	challenges, err := parseChallenges(lines)
	if err != nil {
		return err
	}
	for _, c := range challenges {
		switch {
		case c.scheme == "bearer" && a.cred.RegistryToken == "":
			return a.bearer(ctx, c)
		case c.scheme == "basic" && used == "" && a.cred.Password != "":
			a.set("Basic " + basic(a.cred))
			return nil
		}
	}
	return errNoChallenge
}

func (a *authorizer) set(value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.value = value
	_, secret, _ := strings.Cut(value, " ")
	a.secrets = append(a.secrets, secret)
}

func (a *authorizer) hide(c credential.Credential) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.secrets = append(a.secrets, c.Password, c.IdentityToken, c.RegistryToken)
	if c.Password != "" {
		a.secrets = append(a.secrets, basic(c), url.QueryEscape(c.Password))
	}
}

// scrub takes every secret of this session out of foreign text.
func (a *authorizer) scrub(text string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, secret := range a.secrets {
		if len(secret) >= 3 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

func basic(c credential.Credential) string {
	return base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
}

// bearer gets a token from the realm of the challenge.
func (a *authorizer) bearer(ctx context.Context, c challenge) error {
	realm, err := a.checkRealm(c.params["realm"])
	if err != nil {
		return err
	}
	cred, withheld, err := a.credentialFor(realm)
	if err != nil {
		return err
	}
	t, err := a.token(ctx, realm, c.params["service"], cred)
	if err != nil {
		return a.tokenError(realm, err, withheld)
	}
	a.set("Bearer " + t.value)
	if t.refresh != "" {
		a.mu.Lock()
		a.refresh = t.refresh
		a.secrets = append(a.secrets, t.refresh)
		a.mu.Unlock()
	}
	return nil
}

func (a *authorizer) tokenError(realm *url.URL, err error, withheld bool) error {
	out := a.s.fail("get token from", realm.Host, err)
	e := (*Error)(nil)
	if errors.As(out, &e) {
		if e.Kind == ErrDenied {
			e.Kind = ErrUnauthorized
		}
		if withheld {
			e.Hint = fmt.Sprintf("%s names a token server of another site; the credentials of %s are not sent there. If that is right: bryo login --token-server %s %s",
				a.s.ep.Ref.Domain, a.s.ep.Ref.Domain, realm.Host, a.s.ep.Ref.Domain)
		}
	}
	return out
}

// checkRealm refuses token servers that nothing at all is sent to. Addresses
// of this machine and of cloud metadata are caught by the dialer, after name
// resolution.
func (a *authorizer) checkRealm(realm string) (*url.URL, error) {
	u, err := url.Parse(realm)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, fmt.Errorf("token server %q: not a URL: %w", clean(realm, 100), ErrRefused)
	}
	own := sameHost(u, a.s)
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("token server %s: credentials in the URL: %w", clean(u.Host, 100), ErrRefused)
	case u.Scheme == "https":
	case u.Scheme == "http" && a.s.scheme == "http" && own:
	case u.Scheme == "http":
		return nil, fmt.Errorf("token server http://%s: not encrypted: %w", clean(u.Host, 100), ErrRefused)
	default:
		return nil, fmt.Errorf("token server %s: scheme %q: %w", clean(u.Host, 100), clean(u.Scheme, 20), ErrRefused)
	}
	u.Fragment = ""
	return u, nil
}

// credentialFor decides what the token server gets to see: the registry's
// credentials when it is of the same site (auth.docker.io for
// registry-1.docker.io), else only what the user stored for the token server's
// own host. withheld reports that credentials exist but stay here.
func (a *authorizer) credentialFor(realm *url.URL) (c credential.Credential, withheld bool, err error) {
	if a.refresh != "" {
		return credential.Credential{Username: a.cred.Username, IdentityToken: a.refresh}, false, nil
	}
	if sameHost(realm, a.s) || realm.Scheme == "https" && sameSite(realm.Hostname(), hostname(a.s.host)) {
		return a.cred, false, nil
	}
	if c, ok := a.realm[realm.Host]; ok {
		return c, false, nil
	}
	c, _, err = a.s.opts.Files.Lookup(realm.Host)
	if err != nil {
		return c, false, err
	}
	a.hide(c)
	return c, c.IsZero() && !a.cred.IsZero(), nil
}

// sameHost: the registry's host name, on any port.
func sameHost(u *url.URL, s *session) bool {
	return strings.EqualFold(u.Hostname(), hostname(s.host))
}

// token has no lifetime: a 401 says better than our clock that it is over.
type token struct {
	value   string
	refresh string
}

// token asks with GET and Basic, or with POST when all we have is a refresh
// token.
func (a *authorizer) token(ctx context.Context, realm *url.URL, service string, c credential.Credential) (token, error) {
	q := request{op: "get token from", what: realm.Host, method: http.MethodGet, ok: []int{http.StatusOK}, header: http.Header{}}
	values := url.Values{}
	if service != "" {
		values.Set("service", service)
	}
	if c.IdentityToken != "" {
		values.Set("grant_type", "refresh_token")
		values.Set("refresh_token", c.IdentityToken)
		values.Set("client_id", "bryo")
		values.Set("scope", strings.Join(a.allScopes(), " "))
		form := values.Encode()
		q.method, q.url, q.length = http.MethodPost, realm.String(), int64(len(form))
		q.header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.body = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(form)), nil }
	} else {
		for _, scope := range a.allScopes() {
			values.Add("scope", scope)
		}
		if c.Username != "" {
			values.Set("account", c.Username)
		}
		if a.offline {
			values.Set("offline_token", "true")
			values.Set("client_id", "bryo")
		}
		u := *realm
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+values.Encode(), "&")
		q.url = u.String()
		if c.Password != "" {
			q.header.Set("Authorization", "Basic "+basic(c))
		}
	}
	return a.requestToken(ctx, q)
}

// allScopes is the repository, and for a push those that layers are mounted
// from.
func (a *authorizer) allScopes() []string {
	out := append([]string(nil), a.scopes...)
	for _, repo := range a.mount {
		out = append(out, "repository:"+repo+":pull")
	}
	return out
}

// requestToken sends credentials, so it goes around RoundTrip of the session
// and sets the header for the realm's own host and scheme alone.
func (a *authorizer) requestToken(ctx context.Context, q request) (token, error) {
	client := &http.Client{CheckRedirect: checkRedirect, Transport: only{a.s.dialer, q.header.Get("Authorization"), q.url, a.s.opts.UserAgent}}
	q.header.Del("Authorization")
	var data []byte
	err := a.s.retry(ctx, q, func() error {
		ctx, _, stop := withTimeout(ctx, headerTimeout)
		defer stop()
		var body io.Reader
		if q.body != nil {
			body, _ = q.body()
		}
		r, err := http.NewRequestWithContext(ctx, q.method, q.url, body)
		if err != nil {
			return hideURL(err)
		}
		r.Header = q.header.Clone()
		if q.length > 0 {
			r.ContentLength, r.GetBody = q.length, q.body
		}
		resp, err := client.Do(r)
		if err != nil {
			return stalled(ctx, hideURL(err))
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return a.s.status(resp)
		}
		data, err = io.ReadAll(io.LimitReader(resp.Body, maxTokenBody+1))
		return stalled(ctx, err)
	})
	if err != nil {
		return token{}, err
	}
	return parseToken(data)
}

// only adds a header to requests for one origin; redirects elsewhere go
// without.
type only struct {
	dialer *dialer
	value  string
	origin string
	agent  string
}

func (o only) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	r.Header.Set("User-Agent", o.agent)
	r.URL.User = nil
	origin, err := url.Parse(o.origin)
	if err != nil {
		return nil, hideURL(err)
	}
	same := r.URL.Scheme == origin.Scheme && canonicalHost(r.URL.Scheme, r.URL.Host) == canonicalHost(origin.Scheme, origin.Host)
	if same && o.value != "" {
		r.Header.Set("Authorization", o.value)
	}
	if !same && r.Method != http.MethodGet {
		return nil, fmt.Errorf("token server redirects a refresh token to %s: %w", clean(r.URL.Host, 100), ErrRefused)
	}
	return o.dialer.RoundTrip(r)
}

// parseToken reads a token server's answer.
func parseToken(data []byte) (token, error) {
	var answer struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int64  `json:"expires_in"`
	}
	if len(data) > maxTokenBody {
		return token{}, fmt.Errorf("token is larger than %d bytes: %w", maxTokenBody, ErrRefused)
	}
	if json.Unmarshal(data, &answer) != nil {
		return token{}, fmt.Errorf("token answer is not JSON: %w", ErrRefused)
	}
	t := token{value: answer.Token, refresh: answer.RefreshToken}
	if t.value == "" {
		t.value = answer.AccessToken
	}
	switch {
	case t.value == "":
		return token{}, fmt.Errorf("token answer has no token: %w", ErrRefused)
	case len(t.value) > maxToken || len(t.refresh) > maxToken:
		return token{}, fmt.Errorf("token is larger than %d bytes: %w", maxToken, ErrRefused)
	case !isTokenText(t.value) || !isTokenText(t.refresh):
		return token{}, fmt.Errorf("token has characters that no header may have: %w", ErrRefused)
	case answer.ExpiresIn < 0:
		return token{}, fmt.Errorf("token expires in %d seconds: %w", answer.ExpiresIn, ErrRefused)
	}
	return t, nil
}

func isTokenText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
