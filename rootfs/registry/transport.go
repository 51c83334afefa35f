package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bryo/rootfs/registry/conf"
)

const (
	dialTimeout   = 15 * time.Second
	headerTimeout = 30 * time.Second  // from the request's last byte to the answer's header
	uploadTimeout = 300 * time.Second // the same behind an upload: the registry may copy the blob first
	maxHeader     = 64 << 10          // a registry's header has 1-2 kB
	maxRedirects  = 5
	maxHosts      = 16 // hosts that one session may be sent to by redirects and realms
)

// dialer is the lowest layer: it owns one http.Transport per host, because
// trust (certs.d, insecure) and reach (loopback, link-local) depend on the
// host.
//
// The registry's own host may be anywhere: the user named it. Every other
// host was named by the registry, and a registry must not make this machine
// talk to its own loopback services or to a cloud's metadata address. So
// foreign hosts are checked after name resolution, when the address is known,
// unless the registry itself is on loopback.
type dialer struct {
	own      string // the registry's host[:port], as in URLs
	insecure bool
	dirs     conf.Dirs
	roots    [][]byte // authorities of the registry's certs.d: also trusted for the hosts that it names
	proxy    func(*http.Request) (*url.URL, error)
	upload   bool

	ownIsLocal atomic.Bool // the registry's host turned out to be this machine

	mu    sync.Mutex
	hosts map[string]*http.Transport
}

func newDialer(own string, insecure bool, o Options, upload bool) (*dialer, error) {
	certs, err := certificates(*o.Dirs, own)
	if err != nil {
		return nil, err
	}
	d := &dialer{own: own, insecure: insecure, dirs: *o.Dirs, roots: certs.Roots, proxy: o.Proxy, upload: upload, hosts: map[string]*http.Transport{}}
	d.ownIsLocal.Store(isLoopbackName(hostname(own)))
	return d, nil
}

// certificates reads certs.d under the host as written, and under its name
// without the default port.
func certificates(dirs conf.Dirs, host string) (conf.Certs, error) {
	certs, err := conf.Certificates(dirs, host)
	if short, ok := strings.CutSuffix(host, ":443"); ok && err == nil {
		var more conf.Certs
		more, err = conf.Certificates(dirs, short)
		certs.Dirs = append(certs.Dirs, more.Dirs...)
		certs.Roots = append(certs.Roots, more.Roots...)
		certs.Clients = append(certs.Clients, more.Clients...)
	}
	return certs, err
}

// isOwn reports that u is on the registry's own host and port.
func (d *dialer) isOwn(u *url.URL) bool {
	return canonicalHost(u.Scheme, u.Host) == canonicalHost(u.Scheme, d.own)
}

// RoundTrip sends one request; credentials are the caller's business.
func (d *dialer) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkHop(r); err != nil {
		return nil, err
	}
	t, err := d.transport(r)
	if err != nil {
		return nil, err
	}
	return t.RoundTrip(r)
}

// checkHop holds for redirects too: net/http calls RoundTrip for each hop, with
// the answer that caused it in r.Response.
func checkHop(r *http.Request) error {
	if r.URL.Scheme != "https" && r.URL.Scheme != "http" {
		return fmt.Errorf("scheme %q: %w", clean(r.URL.Scheme, 20), ErrRefused)
	}
	if r.Response != nil && r.Response.Request.URL.Scheme == "https" && r.URL.Scheme == "http" {
		return fmt.Errorf("redirect from https to http://%s: %w", clean(r.URL.Host, 100), ErrRefused)
	}
	return nil
}

func (d *dialer) transport(r *http.Request) (*http.Transport, error) {
	host := canonicalHost(r.URL.Scheme, r.URL.Host)
	proxied := false
	if p, err := d.proxy(r); err != nil {
		return nil, fmt.Errorf("proxy setting: %w", hideURL(err))
	} else if p != nil {
		proxied = true
	}
	foreign := !strings.EqualFold(r.URL.Hostname(), hostname(d.own))
	if foreign && (proxied || isLoopbackName(r.URL.Hostname())) {
		// Behind a proxy the address is not ours to see: judge the literal.
		if err := d.checkForeign(r.URL.Hostname()); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := r.URL.Scheme + "://" + host
	if t := d.hosts[key]; t != nil {
		return t, nil
	}
	if len(d.hosts) >= maxHosts {
		return nil, fmt.Errorf("registry sends to more than %d hosts: %w", maxHosts, ErrRefused)
	}
	t, err := d.newTransport(host, foreign, proxied)
	if err == nil {
		d.hosts[key] = t
	}
	return t, err
}

// newTransport is HTTP/1.1 only: parallel layers get a connection each, and
// the header and body limits below hold for all that is received.
func (d *dialer) newTransport(host string, foreign, proxied bool) (*http.Transport, error) {
	certs, err := certificates(d.dirs, host)
	if err != nil {
		return nil, err
	}
	if foreign {
		certs.Roots = append(certs.Roots, d.roots...)
	}
	timeout := headerTimeout
	if d.upload {
		timeout = uploadTimeout
	}
	network := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	switch {
	case proxied:
	case foreign:
		network.Control = d.controlForeign
	default:
		network.Control = d.controlOwn
	}
	return &http.Transport{
		Proxy:       d.proxy,
		DialContext: network.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            certs.Pool(),
			Certificates:       certs.Clients,
			InsecureSkipVerify: d.insecure && hostname(host) == hostname(d.own),
		},
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  timeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // a blob's bytes are what its digest says
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}, nil
}

func (d *dialer) controlOwn(_, address string, _ syscall.RawConn) error {
	if ap, err := netip.ParseAddrPort(address); err == nil && ap.Addr().Unmap().IsLoopback() {
		d.ownIsLocal.Store(true)
	}
	return nil
}

// controlForeign sees each address after resolution, just before connect(2).
func (d *dialer) controlForeign(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	return d.checkForeign(host)
}

func (d *dialer) checkForeign(host string) error {
	if d.ownIsLocal.Load() && isLoopbackName(host) {
		return nil
	}
	if isLoopbackName(host) || isForbidden(host) {
		return fmt.Errorf("the registry sends to %s, an address of this machine or its cloud: %w", clean(host, 60), ErrRefused)
	}
	return nil
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.hosts {
		t.CloseIdleConnections()
	}
}

// isLoopbackName: localhost, *.localhost (RFC 6761), 127.0.0.0/8, ::1.
func isLoopbackName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().WithZone("").IsLoopback()
}

// isForbidden: addresses where no registry sends anyone in good faith:
// unspecified, link-local (with 169.254.169.254), multicast, and the metadata
// addresses outside of link-local.
func isForbidden(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	switch addr.String() {
	case "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16":
		return true
	}
	return addr.IsUnspecified() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsInterfaceLocalMulticast()
}

// canonicalHost is lower-case host[:port] without the scheme's default port.
func canonicalHost(scheme, host string) string {
	host = strings.ToLower(host)
	return strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
}

// hostname drops the port of "host:port" and the brackets of IPv6.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// hideURL drops the URL from an error: it may hold a proxy's password.
func hideURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// checkRedirect bounds the chain; checkHop judges each step.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects: %w", maxRedirects, ErrRefused)
	}
	r.Header.Del("Referer") // a signed download link is nobody else's business
	return checkHop(r)
}

// withTimeout is a context that ends with errStalled after d, unless alive
// gives it more time. stop releases it.
func withTimeout(ctx context.Context, d time.Duration) (_ context.Context, alive func(time.Duration), stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d, func() { cancel(errStalled) })
	return ctx, func(d time.Duration) { timer.Reset(d) }, func() { timer.Stop(); cancel(nil) }
}

// errStalled ends a body that does not move.
var errStalled error = stall{}

type stall struct{}

func (stall) Error() string { return "no data from the registry" }
func (stall) Timeout() bool { return true }
