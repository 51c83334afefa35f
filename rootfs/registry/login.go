package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"bryo/rootfs/reference"
	"bryo/rootfs/registry/conf"
	"bryo/rootfs/registry/credential"
)

// LoginOptions are Options and what only login knows.
type LoginOptions struct {
	Options
	// TokenServer accepts a token server of another site by its host[:port]:
	// it gets the credentials too, now and in later pulls.
	TokenServer string
}

// Login tries the credentials on the registry and then stores them: through the
// credential helper when one is set up, else in an auth file of mode 0600
// (Stored.Plain: worth a warning). A registry that gives a refresh token has
// that stored instead of the password. An empty server is docker.io.
func Login(ctx context.Context, server string, c credential.Credential, o LoginOptions) (credential.Stored, error) {
	opts := o.Options.withDefaults()
	opts.Auth = &c
	server, err := serverName(server)
	if err != nil {
		return credential.Stored{}, err
	}
	s, err := loginSession(ctx, server, opts)
	if err != nil {
		return credential.Stored{}, err
	}
	defer s.close()
	s.auth.offline = true
	if o.TokenServer != "" {
		s.auth.realm[o.TokenServer] = c
	}
	q := request{op: "log in to", what: server, method: http.MethodGet, url: s.base("/v2/"), ok: []int{http.StatusOK}}
	resp, err := s.do(ctx, q)
	if err != nil {
		return credential.Stored{}, loginError(server, err)
	}
	drain(resp)
	if s.auth.refresh != "" {
		c = credential.Credential{Username: c.Username, IdentityToken: s.auth.refresh}
	}
	if o.TokenServer != "" {
		if _, err := opts.Files.Store(o.TokenServer, c); err != nil {
			return credential.Stored{}, err
		}
	}
	return opts.Files.Store(server, c)
}

// loginError drops the hint to log in from a failed login.
func loginError(server string, err error) error {
	e := (*Error)(nil)
	if errors.As(err, &e) && errors.Is(err, ErrUnauthorized) && strings.HasPrefix(e.Hint, "bryo login "+server) {
		e.Hint = ""
	}
	return err
}

func loginSession(ctx context.Context, server string, o Options) (*session, error) {
	registries, err := conf.LoadRegistries(*o.Dirs)
	if err != nil {
		return nil, err
	}
	host, path, _ := strings.Cut(server, "/")
	if registries.Blocked(host) {
		return nil, fmt.Errorf("log in to %s: %w", host, conf.ErrBlocked)
	}
	ref := reference.Reference{Domain: host, Path: path}
	return newSession(ctx, conf.Endpoint{Ref: ref, Insecure: o.Insecure || registries.Insecure(host)}, "pull", o)
}

// Logout removes a server's credentials from every auth file and helper. It
// reports whether there were any.
func Logout(server string, o Options) (bool, error) {
	o = o.withDefaults()
	server, err := serverName(server)
	if err != nil {
		return false, err
	}
	return o.Files.Erase(server)
}

// serverName normalizes what users give to login: "", "https://host/",
// "host:5000", "host/namespace".
func serverName(server string) (string, error) {
	for _, scheme := range []string{"https://", "http://"} {
		server = strings.TrimPrefix(server, scheme)
	}
	server = strings.TrimRight(server, "/")
	for _, version := range []string{"/v1", "/v2"} {
		server = strings.TrimSuffix(server, version)
	}
	switch server {
	case "", "index.docker.io", hubHost, hubDomain:
		return hubDomain, nil
	}
	host, path, found := strings.Cut(server, "/")
	if _, err := serverDomain(host); err != nil {
		return "", err
	}
	if found {
		if _, err := reference.ParseName(host + "/" + path); err != nil {
			return "", fmt.Errorf("server %q: %w", clean(server, 100), err)
		}
	}
	return server, nil
}

// serverDomain accepts what may stand before the first "/" of a reference. A
// bare name ("registry") is a host here, as there is nothing else it could be.
func serverDomain(host string) (string, error) {
	ref, err := reference.ParseName(host + "/x")
	if err == nil && ref.Domain != host && !strings.Contains(host, ".") {
		ref, err = reference.ParseName(host + ":443/x")
	}
	if err != nil || ref.Domain == "" {
		return "", fmt.Errorf("server %q: not a host name", clean(host, 100))
	}
	return ref.Domain, nil
}
