package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bryo/rootfs/registry/credential"
)

// login stores credentials without asking the registry.
func login(t *testing.T, o Options, server, user, password string) {
	t.Helper()
	if _, err := o.Files.Store(server, credential.Credential{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
}

// needToken makes s want the bearer token that valid accepts, from realm.
func needToken(s *server, realm func() string, valid func(token string, r *http.Request) bool) {
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/token") {
			return false
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if valid(token, r) {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test",scope="repository:victim/private:pull,push"`, realm()))
		w.WriteHeader(401)
		return true
	})
}

// tokenServer is a token server of its own; it keeps what it was shown.
type tokenServer struct {
	*httptest.Server
	seen  atomic.Value // last Authorization header and query
	calls atomic.Int32
	body  func() string
	ca    []byte // PEM, with TLS
}

func newTokenServer(t *testing.T, secure bool) *tokenServer {
	a := &tokenServer{body: func() string { return `{"token":"t1"}` }}
	a.seen.Store("")
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		_ = r.ParseForm()
		a.seen.Store(r.Header.Get("Authorization") + " " + r.Form.Encode())
		_, _ = w.Write([]byte(a.body()))
	}))
	if secure {
		ca := newAuthority(t)
		cert := ca.sign(t, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
		a.ca = ca.pem()
		a.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		a.StartTLS()
	} else {
		a.Start()
	}
	t.Cleanup(a.Close)
	return a
}

func TestBearer(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, false)
	pushed(t, s, "library/a", randomImage(t, 1000, 2))
	needToken(s, func() string { return a.URL + "/token?x=1" }, func(token string, _ *http.Request) bool { return token == "t1" })
	o, _ := options(t)
	login(t, o, s.host(), "user", "p w:d")
	mustPull(t, s.ref(t, "library/a"), o)
	seen := a.seen.Load().(string)
	basic := base64.StdEncoding.EncodeToString([]byte("user:p w:d"))
	// The scope is ours, not the one that the challenge asks for.
	if !strings.Contains(seen, "Basic "+basic) || !strings.Contains(seen, "scope=repository%3Alibrary%2Fa%3Apull&service=test&x=1") || strings.Contains(seen, "victim") {
		t.Errorf("token server saw %q", seen)
	}
	if a.calls.Load() != 1 {
		t.Errorf("%d token requests", a.calls.Load())
	}
}

// F64: the token ends in the middle of a pull, more than once.
func TestTokenRenewal(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, false)
	img, data, _ := bigImage(t, 100<<10)
	pushed(t, s, "a", img)
	var current, uses atomic.Int32
	a.body = func() string {
		uses.Store(0)
		return fmt.Sprintf(`{"token":"t%d","expires_in":1}`, current.Add(1))
	}
	needToken(s, func() string { return a.URL }, func(token string, r *http.Request) bool {
		return token == fmt.Sprintf("t%d", current.Load()) && uses.Add(1) <= 1
	})
	o, rec := options(t)
	_, got := mustPull(t, s.ref(t, "a"), o)
	if string(got[0]) != string(data) || a.calls.Load() != 3 || rec.retries != 0 {
		t.Errorf("%d tokens, %d retries", a.calls.Load(), rec.retries)
	}
}

func TestIdentityToken(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, false)
	pushed(t, s, "a", randomImage(t, 100, 1))
	a.body = func() string { return `{"access_token":"t1","refresh_token":"r2"}` }
	needToken(s, func() string { return a.URL }, func(token string, _ *http.Request) bool { return token == "t1" })
	o, _ := options(t)
	_, _ = o.Files.Store(s.host(), credential.Credential{Username: "u", IdentityToken: "r1"})
	mustPull(t, s.ref(t, "a"), o)
	if seen := a.seen.Load().(string); !strings.Contains(seen, "grant_type=refresh_token&refresh_token=r1") {
		t.Errorf("token server saw %q", seen)
	}
}

// A45: where credentials may go. The registry is 127.0.0.1 over plain http.
func TestRealm(t *testing.T) {
	var o Options
	o, _ = options(t)
	o = o.withDefaults()
	login(t, o, "auth.elsewhere.net", "other", "other-secret")
	type row struct {
		name, registry, scheme, realm string
		refused                       bool
		shown                         string // the user whose credentials are shown; "" for none
	}
	for _, c := range []row{
		{"docker hub", "docker.io", "https", "https://auth.docker.io/token", false, "user"},
		{"same host", "registry.example.com", "https", "https://registry.example.com/token", false, "user"},
		{"same host, other port", "registry.example.com:5000", "https", "https://registry.example.com:5001/token", false, "user"},
		{"same site", "registry.example.com", "https", "https://gitlab.example.com/jwt/auth", false, "user"},
		{"other site", "registry.example.com", "https", "https://evil.example.net/token", false, ""},
		{"other site that the user has credentials for", "registry.example.com", "https", "https://auth.elsewhere.net/token", false, "other"},
		{"public suffix is no site", "a.github.io", "https", "https://b.github.io/token", false, ""},
		{"country suffix is no site", "reg.co.uk", "https", "https://evil.co.uk/token", false, ""},
		{"bare names", "registry", "https", "https://auth/token", false, ""},
		{"look-alike", "registry.example.com", "https", "https://registry.example.com.evil.net/token", false, ""},
		{"user info trick", "registry.example.com", "https", "https://registry.example.com@evil.net/token", true, ""},
		{"http", "registry.example.com", "https", "http://registry.example.com/token", true, ""},
		{"http, other host", "registry.example.com", "https", "http://evil.net/token", true, ""},
		{"plain registry, own host", "127.0.0.1:5000", "http", "http://127.0.0.1:5001/token", false, "user"},
		{"plain registry, other loopback", "127.0.0.1:5000", "http", "http://127.0.0.2:5001/token", true, ""},
		{"plain registry, other host", "127.0.0.1:5000", "http", "http://evil.net/token", true, ""},
		{"plain registry, other host over https", "127.0.0.1:5000", "http", "https://evil.net/token", false, ""},
		{"file", "registry.example.com", "https", "file:///etc/passwd", true, ""},
		{"no host", "registry.example.com", "https", "https:///token", true, ""},
		{"opaque", "registry.example.com", "https", "https:evil", true, ""},
		{"empty", "registry.example.com", "https", "", true, ""},
		{"garbage", "registry.example.com", "https", "https://%zz", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &session{host: urlHost(c.registry), scheme: c.scheme, opts: o}
			s.ep.Ref.Domain = c.registry
			a := &authorizer{s: s, cred: credential.Credential{Username: "user", Password: "secret"}}
			u, err := a.checkRealm(c.realm)
			if (err != nil) != c.refused || err != nil && !errors.Is(err, ErrRefused) {
				t.Fatalf("checkRealm: %v", err)
			}
			if err != nil {
				return
			}
			cred, withheld, err := a.credentialFor(u)
			if err != nil || cred.Username != c.shown || withheld != (c.shown == "") {
				t.Errorf("%v %v %v", cred, withheld, err)
			}
		})
	}
}

// A45 end to end: a realm on this machine or a metadata address gets nothing,
// also behind a name.
func TestRealmEndToEnd(t *testing.T) {
	for _, c := range []struct{ name, realm string }{
		{"http on another loopback host", "http://127.0.0.2:%s/token"},
		{"metadata", "https://169.254.169.254/token"},
		{"metadata v6", "https://[fd00:ec2::254]/token"},
		{"unspecified", "https://0.0.0.0:%s/token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, a := newServer(t), newTokenServer(t, false)
			u, _ := url.Parse(a.URL)
			realm := strings.ReplaceAll(c.realm, "%s", u.Port())
			needToken(s, func() string { return realm }, func(string, *http.Request) bool { return false })
			o, _ := options(t)
			login(t, o, s.host(), "user", "hunter2")
			_, err := Pull(testContext(t), s.ref(t, "a"), o)
			if !errors.Is(err, ErrRefused) || a.calls.Load() != 0 {
				t.Errorf("error %v, %d calls", err, a.calls.Load())
			}
		})
	}
}

// Credentials withheld from a token server of another site: the error says so.
func TestRealmHint(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, true)
	u, _ := url.Parse(a.URL)
	realm := "https://localhost:" + u.Port() + "/token" // not 127.0.0.1: another host
	a.body = func() string { return `{}` }
	needToken(s, func() string { return realm }, func(string, *http.Request) bool { return false })
	o, _ := options(t)
	trust(t, o, "localhost:"+u.Port(), a.ca)
	login(t, o, s.host(), "user", "hunter2")
	_, err := Pull(testContext(t), s.ref(t, "a"), o)
	e := (*Error)(nil)
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "--token-server localhost:"+u.Port()) {
		t.Errorf("error %#v", err)
	}
	if seen := a.seen.Load().(string); strings.Contains(seen, "Basic") || strings.Contains(seen, "user") {
		t.Errorf("token server saw %q", seen)
	}
}

// A51: tokens that are none.
func TestBadToken(t *testing.T) {
	for _, c := range []struct{ name, body, text string }{
		{"huge", `{"token":"` + strings.Repeat("x", 10<<20) + `"}`, "larger"},
		{"long", `{"token":"` + strings.Repeat("x", 40<<10) + `"}`, "larger"},
		{"negative expiry", `{"token":"x","expires_in":-1}`, "expires in -1"},
		{"fractional expiry", `{"token":"x","expires_in":1.5}`, "not JSON"},
		{"overflowing expiry", `{"token":"x","expires_in":99999999999999999999999}`, "not JSON"},
		{"empty", `{}`, "no token"},
		{"html", `<html>`, "not JSON"},
		{"header injection", `{"token":"x\r\nX-Evil: 1"}`, "characters"},
		{"space", `{"token":"x y"}`, "characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, a := newServer(t), newTokenServer(t, false)
			a.body = func() string { return c.body }
			needToken(s, func() string { return a.URL }, func(string, *http.Request) bool { return false })
			o, rec := options(t)
			_, err := Pull(testContext(t), s.ref(t, "a"), o)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.text) || rec.retries != 0 {
				t.Errorf("error %v, %d retries", err, rec.retries)
			}
		})
	}
}

// A53: a registry that echoes what we sent it, in every way it can.
func TestNoSecretsInErrors(t *testing.T) {
	const password = "hunter2-äö+/"
	s, a := newServer(t), newTokenServer(t, false)
	a.body = func() string { return `{"token":"tok-secret"}` }
	needToken(s, func() string { return a.URL }, func(token string, r *http.Request) bool { return token == "tok-secret" && !isManifest(r) })
	old := s.hook
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if isManifest(r) && r.Header.Get("Authorization") != "" {
			w.WriteHeader(403)
			basic := base64.StdEncoding.EncodeToString([]byte("user:" + password))
			_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": "X", "message": "you sent " + r.Header.Get("Authorization") + " " + password + " " + basic}}})
			return true
		}
		return old(w, r)
	})
	o, rec := options(t)
	login(t, o, s.host(), "user", password)
	_, err := Pull(testContext(t), s.ref(t, "a"), o)
	if !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %q", err, err, o.Files, rec.lines)
	for _, secret := range []string{password, "tok-secret", base64.StdEncoding.EncodeToString([]byte("user:" + password))} {
		if strings.Contains(text, secret) {
			t.Errorf("%q in %s", secret, text)
		}
	}
	c := credential.Credential{Username: "u", Password: password}
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(text, password) {
		t.Error(text)
	}
	if info, _ := os.Stat(o.Files.Write); info.Mode().Perm() != 0o600 {
		t.Errorf("auth file is %v", info.Mode())
	}
}

// A signed download link is a secret; when its host fails, it is not shown.
func TestNoSignedLinkInErrors(t *testing.T) {
	s := newServer(t)
	img, _, h := bigImage(t, 1000)
	pushed(t, s, "a", img)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r, h) {
			http.Redirect(w, r, "https://user:pw@127.0.0.1:1/x?X-Amz-Signature=5ecret", http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	o, rec := options(t)
	_, _, err := pullAll(t, s.ref(t, "a"), o)
	if text := fmt.Sprintf("%v %+v %q", err, err, rec.lines); err == nil || strings.Contains(text, "5ecret") || strings.Contains(text, "pw@") {
		t.Error(text)
	}
}

func TestLogin(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, false)
	a.body = func() string { return `{"token":"t1"}` }
	needToken(s, func() string { return a.URL }, func(token string, r *http.Request) bool { return token == "t1" })
	o, _ := options(t)
	cred := credential.Credential{Username: "user", Password: "secret"}
	stored, err := Login(testContext(t), "http://"+s.host()+"/", cred, LoginOptions{Options: o})
	if err != nil || !stored.Plain() || stored.File != o.Files.Write {
		t.Fatalf("%+v %v", stored, err)
	}
	got, _, err := o.Files.Lookup(s.host() + "/some/repo")
	if err != nil || got != cred {
		t.Errorf("%v %v", got, err)
	}
	found, err := Logout(s.host(), o)
	if err != nil || !found {
		t.Errorf("%v %v", found, err)
	}
	if got, _, _ := o.Files.Lookup(s.host()); !got.IsZero() {
		t.Error("still there")
	}
	if found, err := Logout(s.host(), o); err != nil || found {
		t.Errorf("second logout: %v %v", found, err)
	}
}

// A refresh token replaces the password in the file.
func TestLoginRefreshToken(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, false)
	a.body = func() string { return `{"token":"t1","refresh_token":"r1"}` }
	needToken(s, func() string { return a.URL }, func(token string, r *http.Request) bool { return token == "t1" })
	o, _ := options(t)
	if _, err := Login(testContext(t), s.host(), credential.Credential{Username: "user", Password: "secret"}, LoginOptions{Options: o}); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := o.Files.Lookup(s.host()); got.IdentityToken != "r1" || got.Password != "" {
		t.Errorf("stored %+v", got)
	}
	if seen := a.seen.Load().(string); !strings.Contains(seen, "offline_token=true") {
		t.Errorf("asked %q", seen)
	}
}

func TestLoginWrongPassword(t *testing.T) {
	s := newServer(t)
	s.on(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
		return true
	})
	o, _ := options(t)
	_, err := Login(testContext(t), s.host(), credential.Credential{Username: "user", Password: "wrong"}, LoginOptions{Options: o})
	if !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
	if _, err := os.Stat(o.Files.Write); err == nil {
		t.Error("stored all the same")
	}
}

func TestLoginTokenServer(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, true)
	u, _ := url.Parse(a.URL)
	other := "localhost:" + u.Port()
	needToken(s, func() string { return "https://" + other + "/token" }, func(token string, r *http.Request) bool { return token == "t1" })
	pushedOpen(t, s, "a")
	o, _ := options(t)
	trust(t, o, other, a.ca)
	cred := credential.Credential{Username: "user", Password: "secret"}
	if _, err := Login(testContext(t), s.host(), cred, LoginOptions{Options: o, TokenServer: other}); err != nil {
		t.Fatal(err)
	}
	a.seen.Store("")
	mustPull(t, s.ref(t, "a"), o)
	if seen := a.seen.Load().(string); !strings.Contains(seen, "Basic ") {
		t.Errorf("token server saw %q", seen)
	}
}

// pushedOpen pushes while the hook is out of the way.
func pushedOpen(t *testing.T, s *server, name string) {
	t.Helper()
	hook := s.hook
	s.on(nil)
	pushed(t, s, name, randomImage(t, 100, 1))
	s.on(hook)
}

func TestServerName(t *testing.T) {
	for in, want := range map[string]string{
		"": "docker.io", "docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io", "registry-1.docker.io": "docker.io",
		"https://h.x": "h.x", "h.x:5000/": "h.x:5000", "h.x/ns": "h.x/ns", "registry": "registry", "localhost": "localhost", "[::1]:5000": "[::1]:5000",
	} {
		if got, err := serverName(in); err != nil || got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"a b", "h.x/../..", "h.x/UP", "-x", "h.x:port", "\x1b"} {
		if got, err := serverName(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestParseChallenges(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []string
		want string
	}{
		{"bearer", []string{`Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"`}, `[{bearer map[realm:https://a/t scope:repository:x:pull,push service:s]}]`},
		{"two on one line", []string{`Basic realm="a b", Bearer realm=x`}, `[{basic map[realm:a b]} {bearer map[realm:x]}]`},
		{"two lines", []string{`Negotiate`, `BASIC Realm="x"`}, `[{negotiate map[]} {basic map[realm:x]}]`},
		{"quotes", []string{`Basic realm="a\"b\\"`}, `[{basic map[realm:a"b\]}]`},
		{"spaces", []string{`Bearer realm = "x" ,  service = "y"`}, `[{bearer map[realm:x service:y]}]`},
		{"none", nil, `[]`},
	} {
		got, err := parseChallenges(c.in)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v %v", c.name, got, err)
		}
	}
	for _, in := range []string{`Bearer realm="x`, `Bearer realm="a",realm="b"`, `Bearer realm=`, `"x"`, `Bearer =`, strings.Repeat("a", 20<<10), strings.Repeat("a,", 50)} {
		if got, err := parseChallenges([]string{in}); err == nil {
			t.Errorf("%.40q: %v", in, got)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"`)
	f.Add(`Basic realm="a\"b", Negotiate abc==, x=`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseChallenges([]string{s, s})
		if err == nil && len(got) > maxChallenges {
			t.Errorf("%d challenges", len(got))
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add([]byte(`{"token":"x","expires_in":60,"refresh_token":"y"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := parseToken(data)
		if err == nil && (tok.value == "" || !isTokenText(tok.value)) {
			t.Errorf("token %q", tok.value)
		}
	})
}

// Credentials of an https registry are not for the same host over http, whoever
// makes up such a URL.
func TestTrusted(t *testing.T) {
	o, _ := options(t)
	o = o.withDefaults()
	d, err := newDialer("h.x:5000", false, o, false)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{host: "h.x:5000", scheme: "https", dialer: d}
	for where, want := range map[string]bool{
		"https://h.x:5000/v2/": true, "https://H.X:5000/v2/": true, "http://h.x:5000/v2/": false, "https://h.x/v2/": false,
		"https://h.x:5001/": false, "https://sub.h.x:5000/": false, "https://h.x:5000@evil.x/": false, "https://h.x:5000.evil.x/": false,
	} {
		u, err := url.Parse(where)
		if err == nil && s.trusted(u) != want {
			t.Errorf("%s: %v", where, !want)
		}
	}
	d.own = "h.x"
	for where, want := range map[string]bool{"https://h.x:443/": true, "https://h.x/": true, "https://h.x:80/": false} {
		if u, _ := url.Parse(where); s.trusted(u) != want {
			t.Errorf("%s: %v", where, !want)
		}
	}
}

// Layers that hit the end of a token together ask for one new token.
func TestOneRenewal(t *testing.T) {
	s, a := newServer(t), newTokenServer(t, false)
	pushed(t, s, "a", randomImage(t, 1000, 6))
	var current, waiting atomic.Int32
	current.Store(1)
	all := make(chan struct{})
	a.body = func() string { return fmt.Sprintf(`{"token":"t%d"}`, current.Load()) }
	needToken(s, func() string { return a.URL }, func(token string, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && token == "t1" && current.Load() == 2 {
			if waiting.Add(1) == 6 {
				close(all)
			}
			<-all // until each layer has been refused
		}
		return token == fmt.Sprintf("t%d", current.Load())
	})
	o, _ := options(t)
	o.Parallel = 6
	img, err := Pull(testContext(t), s.ref(t, "a"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	current.Store(2)
	layers, _ := img.Layers()
	var group sync.WaitGroup
	for _, l := range layers {
		group.Go(func() {
			rc, err := l.Compressed()
			if err == nil {
				_, err = io.Copy(io.Discard, rc)
				rc.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if a.calls.Load() != 2 {
		t.Errorf("%d token requests, want 2", a.calls.Load())
	}
}
