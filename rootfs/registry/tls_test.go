package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// trust puts a certificate into certs.d.
func trust(t *testing.T, o Options, host string, pem []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(certsDir(t, o, host), "ca.crt"), pem, 0o644); err != nil {
		t.Fatal(err)
	}
}

func serverPEM(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return authority{cert, key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// sign makes a certificate for 127.0.0.1, changed by edit.
func (a authority) sign(t *testing.T, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"}, NotBefore: time.Now().Add(-24 * time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	edit(c)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newTLSServer(t *testing.T, config *tls.Config) *server {
	t.Helper()
	s := newUnstarted(t)
	s.TLS = config
	s.StartTLS()
	return s
}

func certsDir(t *testing.T, o Options, host string) string {
	t.Helper()
	dir := filepath.Join(o.Dirs.Certs[0], host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A47: each bad certificate is refused and named; http is not tried behind it.
func TestCertificates(t *testing.T) {
	ca := newAuthority(t)
	for _, c := range []struct {
		name    string
		edit    func(*x509.Certificate)
		trusted bool
		text    string // "" for success
	}{
		{"good", func(*x509.Certificate) {}, true, ""},
		{"unknown authority", func(*x509.Certificate) {}, false, "signed by an unknown authority"},
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, true, "expired or not yet valid"},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, true, "expired or not yet valid"},
		{"wrong host", func(c *x509.Certificate) { c.IPAddresses = nil; c.DNSNames = []string{"other.example\x1b[1m"} }, true, "certificate is for other.example"},
		{"wrong usage", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }, true, "usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTLSServer(t, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, c.edit)}})
			o, rec := options(t)
			if c.trusted {
				trust(t, o, s.host(), ca.pem())
			}
			login(t, o, s.host(), "user", "secret")
			_, err := Pull(testContext(t), s.ref(t, "a"), o)
			if c.text == "" {
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("error %v", err)
				}
				return
			}
			if !errors.Is(err, ErrCertificate) || !strings.Contains(err.Error(), c.text) || rec.retries != 0 {
				t.Errorf("error %v, %d retries", err, rec.retries)
			}
			if len(s.requests) != 0 {
				t.Errorf("requests got through: %q", s.requests)
			}
			if strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%q", err.Error())
			}
			if c.name == "unknown authority" {
				e := (*Error)(nil)
				if errors.As(err, &e); !strings.Contains(e.Hint, o.Dirs.Certs[0]+"/"+s.host()+"/ca.crt") {
					t.Errorf("hint %q", e.Hint)
				}
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	s := newTLSServer(t, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, func(*x509.Certificate) {})}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	o, _ := options(t)
	dir := certsDir(t, o, s.host())
	trust(t, o, s.host(), ca.pem())
	_, err := Pull(testContext(t), s.ref(t, "a"), o)
	if !errors.Is(err, ErrCertificate) || !strings.Contains(err.Error(), "handshake") {
		t.Errorf("without: %v", err)
	}
	client := ca.sign(t, func(*x509.Certificate) {})
	key, _ := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	_ = os.WriteFile(filepath.Join(dir, "client.cert"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Certificate[0]}), 0o644)
	_ = os.WriteFile(filepath.Join(dir, "client.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600)
	if _, err := Push(testContext(t), s.ref(t, "a"), randomImage(t, 100, 1), o); err != nil {
		t.Errorf("with: %v", err)
	}
}

// insecure = true takes any certificate, and plain http.
func TestInsecure(t *testing.T) {
	ca := newAuthority(t)
	s := newTLSServer(t, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, func(*x509.Certificate) {})}})
	o, _ := options(t)
	_ = os.MkdirAll(o.Dirs.User, 0o755)
	_ = os.WriteFile(filepath.Join(o.Dirs.User, "registries.conf"), []byte("[[registry]]\nlocation = \""+s.host()+"\"\ninsecure = true\n"), 0o644)
	if _, err := Pull(testContext(t), s.ref(t, "a"), o); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// A46: from https to http, by redirect or by upload location.
func TestDowngrade(t *testing.T) {
	plain := newServer(t)
	img, _, h := bigImage(t, 1000)
	s := newTLSServer(t, nil)
	o, rec := options(t)
	trust(t, o, s.host(), serverPEM(s.Server))
	if _, err := Push(testContext(t), s.ref(t, "a"), img, o); err != nil {
		t.Fatal(err)
	}
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case isBlob(r, h):
			http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
		case r.Method == http.MethodPost:
			w.Header().Set("Location", plain.URL+"/upload")
			w.WriteHeader(202)
		default:
			return false
		}
		return true
	})
	_, _, err := pullAll(t, s.ref(t, "a"), o)
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "from https to http") || rec.retries != 0 {
		t.Errorf("redirect: %v, %d retries", err, rec.retries)
	}
	if _, err := Push(testContext(t), s.ref(t, "b"), randomImage(t, 10, 1), o); !errors.Is(err, ErrRefused) {
		t.Errorf("location: %v", err)
	}
	if len(plain.requests) != 0 {
		t.Errorf("plain host saw %q", plain.requests)
	}
}

// F69: the proxy is named, without its password.
func TestProxyError(t *testing.T) {
	o, _ := options(t)
	o.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://user:hunter2@127.0.0.1:1") }
	s := newServer(t)
	for _, name := range []string{"registry.example.com/a", s.host() + "/a"} {
		_, err := Pull(testContext(t), mustRef(t, name), o)
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "proxy http://127.0.0.1:1") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The registry's traffic goes through the proxy when there is one.
func TestProxyUsed(t *testing.T) {
	s := newServer(t)
	pushed(t, s, "a", randomImage(t, 100, 1))
	var seen int
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen++
		r.RequestURI = ""
		r.URL.Host = s.host()
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer proxy.Close()
	o, _ := options(t)
	o.Insecure = true
	o.Proxy = func(r *http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	mustPull(t, mustRef(t, "registry.invalid:5000/a"), o)
	if seen < 4 {
		t.Errorf("the proxy saw %d requests", seen)
	}
}
