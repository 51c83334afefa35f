package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode"
)

// Kinds of failure; compare with errors.Is.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("authentication required") // no credentials, or wrong ones
	ErrDenied       = errors.New("access denied")           // known user, not allowed
	ErrRateLimit    = errors.New("too many requests")
	ErrCertificate  = errors.New("certificate not accepted")
	ErrUnreachable  = errors.New("registry not reachable")
	ErrPlatform     = errors.New("no matching manifest")
	ErrUnsupported  = errors.New("not supported") // schema 1, media types, foreign layers
	ErrVerify       = errors.New("verification failed")
	ErrRefused      = errors.New("refused") // redirects and realms against the rules
)

// opManifest is the Op of a request for a manifest.
const opManifest = "get manifest"

// Error says what was asked of which registry. Its text never holds
// credentials, queries of URLs (signed download links are secrets) or control
// characters.
type Error struct {
	Op    string // "get manifest", "get blob", "get token", "upload blob", ...
	What  string // the reference, digest or host
	Kind  error  // one of the kinds above, or nil
	Cause error
	Hint  string // what the user can do, or empty
}

func (e *Error) Error() string {
	s := e.subject()
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	} else if e.Kind != nil {
		s += ": " + e.Kind.Error()
	}
	return s
}

// subject begins with docker's words where a pull asked for what is not there or not
// for everybody: scripts look for them.
func (e *Error) subject() string {
	switch {
	case e.Op != opManifest:
	case e.Kind == ErrNotFound:
		return "manifest for " + e.What + " not found"
	case e.Kind == ErrDenied, e.Kind == ErrUnauthorized:
		return "pull access denied for " + e.What + ", repository does not exist or may require 'bryo login'"
	}
	return e.Op + " " + e.What
}

func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.Kind, e.Cause} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// status is an HTTP answer that is no success.
type status struct {
	code int
	text string // the registry's own words, cleaned
	wait string // Retry-After as sent
}

// Error prefers the registry's words to the number: "manifest unknown". A
// server's own trouble keeps its number.
func (s *status) Error() string {
	number := strings.TrimSpace(fmt.Sprintf("%d %s", s.code, strings.ToLower(http.StatusText(s.code))))
	switch {
	case s.text == "":
		return number
	case s.kind() == nil || s.code == http.StatusTooManyRequests:
		return number + ": " + s.text
	}
	return s.text
}

// kind maps a status to one of the exported kinds.
func (s *status) kind() error {
	switch s.code {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrDenied
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusTooManyRequests:
		return ErrRateLimit
	}
	return nil
}

// fail wraps the cause of a failed request: the URL that net/http puts into
// its errors is dropped, the kind is found, and the cure is named.
func (s *session) fail(op, what string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if done := (*Error)(nil); errors.As(err, &done) {
		return err
	}
	out := &Error{Op: op, What: what, Cause: err}
	if st := (*status)(nil); errors.As(err, &st) {
		out.Kind = st.kind()
		out.Hint = s.statusHint(st)
		return out
	}
	s.explain(out)
	return out
}

func (s *session) statusHint(st *status) string {
	switch {
	case st.code == http.StatusUnauthorized && s.auth.cred.IsZero(), st.code == http.StatusForbidden && s.auth.cred.IsZero():
		return "bryo login " + s.ep.Ref.Domain
	case st.code == http.StatusTooManyRequests && st.wait != "":
		return "the registry asks to wait " + clean(st.wait, 40) + " seconds"
	}
	return ""
}

// explain names network, proxy and certificate errors.
func (s *session) explain(out *Error) {
	var target *url.Error
	if errors.As(out.Cause, &target) {
		out.Cause = target.Err
	}
	for _, known := range []error{ErrRefused, ErrVerify, ErrUnsupported, ErrUnauthorized} {
		if errors.Is(out.Cause, known) {
			return
		}
	}
	if cure, cause := explainTLS(out.Cause, s.certsDir()); cause != nil {
		out.Kind, out.Cause, out.Hint = ErrCertificate, cause, cure
		return
	}
	if op := (*net.OpError)(nil); errors.As(out.Cause, &op) && op.Op == "proxyconnect" {
		out.Kind, out.Cause = ErrUnreachable, fmt.Errorf("proxy %s: %w", s.proxyName(), op.Err)
		return
	}
	if errors.Is(out.Cause, http.ErrSchemeMismatch) || errors.As(out.Cause, new(tls.RecordHeaderError)) {
		out.Kind = ErrUnreachable
		out.Cause = errors.New("the registry speaks plain http, https is expected")
		out.Hint = "insecure = true for " + s.ep.Ref.Domain + " in registries.conf"
		return
	}
	if errors.As(out.Cause, new(net.Error)) || errors.Is(out.Cause, io.EOF) || errors.Is(out.Cause, io.ErrUnexpectedEOF) {
		out.Kind = ErrUnreachable
		if proxy := s.proxyName(); proxy != "" {
			out.Cause = fmt.Errorf("through proxy %s: %w", proxy, out.Cause)
		}
	}
}

// explainTLS names what is wrong with a certificate, and its cure. nil means
// that the error is about something else.
func explainTLS(err error, certsDir string) (cure string, cause error) {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var roots x509.SystemRootsError
	var remote *net.OpError
	addCA := "put the authority's certificate into " + certsDir + "/ca.crt"
	switch {
	case errors.As(err, &unknown):
		if unknown.Cert != nil && unknown.Cert.Subject.String() == unknown.Cert.Issuer.String() && !unknown.Cert.IsCA {
			return addCA, errors.New("certificate is self-signed")
		}
		return addCA, errors.New("certificate is signed by an unknown authority")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the registry's certificate, or check this machine's clock", fmt.Errorf("certificate is expired or not yet valid (valid %s to %s)",
			invalid.Cert.NotBefore.Format("2006-01-02"), invalid.Cert.NotAfter.Format("2006-01-02"))
	case errors.As(err, &host):
		names := append([]string(nil), host.Certificate.DNSNames...)
		for _, ip := range host.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		return "", fmt.Errorf("certificate is for %s, not for %s", clean(strings.Join(names, ", "), 200), host.Host)
	case errors.As(err, &roots):
		return "install ca-certificates, or " + addCA, errors.New("this machine has no certificate authorities")
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "if it wants a client certificate: put client.cert and client.key into " + certsDir,
			fmt.Errorf("the registry ended the TLS handshake: %w", remote.Err)
	case errors.As(err, &invalid), errors.As(err, new(*tls.CertificateVerificationError)):
		return addCA, err
	}
	return "", nil
}

// clean makes foreign text fit for one line of a terminal: no control
// characters, no escapes, bounded.
func clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return text
}

// isTimeout reports deadlines of dials, headers and stalled bodies.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
