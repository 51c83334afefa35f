package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bryo/rootfs/reference"
)

func dirs(t *testing.T) Dirs {
	t.Helper()
	base := t.TempDir()
	return Dirs{System: filepath.Join(base, "etc"), User: filepath.Join(base, "user"), Certs: []string{filepath.Join(base, "certs.d")}}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func show(all []Endpoint) string {
	var out []string
	for _, e := range all {
		s := e.Ref.String()
		if e.Mirror {
			s = "mirror " + s
		}
		if e.Insecure {
			s += " insecure"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

var digest = "@sha256:" + strings.Repeat("a", 64)

func TestEndpoints(t *testing.T) {
	const text = `
unqualified-search-registries = ["quay.io"]
short-name-mode = "enforcing"
[aliases]
"debian" = "quay.io/evil/debian"

[[registry]]
prefix = "h.x"
location = "h.x"
insecure = true

[[registry]]
prefix = "h.x/team"
location = "internal.x:5000/pool/team"

[[registry]]
prefix = "*.wild.x"
location = "wild.internal"

[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "m1.x/hub"
insecure = true
[[registry.mirror]]
location = "m2.x"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m3.x"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "bydigest.x"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m4.x"

[[registry]]
location = "blocked.x/part"
blocked = true
`
	d := dirs(t)
	put(t, d.System+"/registries.conf", text)
	r, err := LoadRegistries(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want string }{
		{"debian", "mirror m1.x/hub/library/debian:latest insecure, mirror m3.x/library/debian:latest, docker.io/library/debian:latest"},
		{"debian" + digest, "mirror m1.x/hub/library/debian" + digest + " insecure, mirror m2.x/library/debian" + digest + ", docker.io/library/debian" + digest},
		{"h.x/a", "h.x/a:latest insecure"},
		{"h.x/team/a:1", "internal.x:5000/pool/team/a:1"},
		{"h.x/teamster/a:1", "h.x/teamster/a:1 insecure"},
		{"h.x:5000/a", "h.x:5000/a:latest insecure"},
		{"h.xy/a", "h.xy/a:latest"},
		{"a.wild.x/b", "wild.internal/b:latest"},
		{"a.b.wild.x:5000/b", "wild.internal:5000/b:latest"},
		{"wild.x/b", "wild.x/b:latest"},
		{"notwild.x/b", "notwild.x/b:latest"},
		{"bydigest.x/a", "bydigest.x/a:latest"},
		{"bydigest.x/a" + digest, "mirror m4.x/a" + digest + ", bydigest.x/a" + digest},
		{"blocked.x/other", "blocked.x/other:latest"},
	} {
		ref, _ := reference.Parse(c.in)
		all, err := r.Endpoints(ref)
		if err != nil || show(all) != c.want {
			t.Errorf("%s: %s %v\nwant %s", c.in, show(all), err, c.want)
		}
	}
	ref, _ := reference.Parse("blocked.x/part/a")
	if _, err := r.Endpoints(ref); !errors.Is(err, ErrBlocked) {
		t.Errorf("blocked: %v", err)
	}
	if !r.Insecure("h.x") || r.Insecure("m2.x") || r.Blocked("blocked.x") {
		t.Error("Insecure, Blocked")
	}
	ref, _ = reference.Parse("debian")
	if e, err := r.Origin(ref); err != nil || e.Mirror || e.Ref != ref {
		t.Errorf("origin %v %v", e, err)
	}
}

// Which files count: the user's main file hides the system's with its drop-ins;
// later tables replace earlier ones.
func TestRegistriesFiles(t *testing.T) {
	d := dirs(t)
	ref, _ := reference.Parse("h.x/a")
	look := func() string {
		r, err := LoadRegistries(d)
		if err != nil {
			return err.Error()
		}
		all, err := r.Endpoints(ref)
		return fmt.Sprintf("%s %v", show(all), err)
	}
	rule := func(to string) string { return fmt.Sprintf("[[registry]]\nprefix=\"h.x\"\nlocation=%q\n", to) }
	steps := []struct{ file, to, want string }{
		{"", "", "h.x/a:latest"},
		{d.System + "/registries.conf", "one.x", "one.x/a:latest"},
		{d.System + "/registries.conf.d/10-a.conf", "two.x", "two.x/a:latest"},
		{d.System + "/registries.conf.d/20-b.conf", "three.x", "three.x/a:latest"},
		{d.System + "/registries.conf.d/30-c.txt", "no.x", "three.x/a:latest"},
		{d.User + "/registries.conf.d/10.conf", "four.x", "four.x/a:latest"},
		{d.User + "/registries.conf", "five.x", "four.x/a:latest"},
	}
	for _, s := range steps {
		if s.file != "" {
			put(t, s.file, rule(s.to))
		}
		if got := look(); got != s.want+" <nil>" {
			t.Errorf("%s: %s, want %s", s.file, got, s.want)
		}
	}
	_ = os.RemoveAll(d.User + "/registries.conf.d")
	if got := look(); got != "five.x/a:latest <nil>" {
		t.Error(got)
	}
	d.Registries = filepath.Join(t.TempDir(), "missing.conf")
	if got := look(); !strings.Contains(got, "not exist") {
		t.Errorf("a named file that is missing: %s", got)
	}
}

func TestBadRegistries(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "[[registry]", "expected"},
		{"version 1", "[registries.block]\nregistries=[\"x\"]", "version 1"},
		{"no location", "[[registry]]\ninsecure=true", "neither prefix"},
		{"URL", "[[registry]]\nlocation=\"https://h.x\"", "without a scheme"},
		{"space", "[[registry]]\nlocation=\"h x\"", "invalid character"},
		{"mirror without location", "[[registry]]\nlocation=\"h.x\"\n[[registry.mirror]]\ninsecure=true", "no location"},
		{"mirror URL", "[[registry]]\nlocation=\"h.x\"\n[[registry.mirror]]\nlocation=\"http://m\"", "without a scheme"},
		{"pull-from-mirror", "[[registry]]\nlocation=\"h.x\"\n[[registry.mirror]]\nlocation=\"m\"\npull-from-mirror=\"never\"", "unknown value"},
		{"both", "[[registry]]\nlocation=\"h.x\"\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation=\"m\"\npull-from-mirror=\"all\"", "exclude"},
		{"type", "[[registry]]\nlocation=5", "incompatible"},
	} {
		d := dirs(t)
		put(t, d.System+"/registries.conf", c.text)
		_, err := LoadRegistries(d)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "registries.conf") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	d := dirs(t)
	_ = os.MkdirAll(d.System, 0o755)
	if err := syscall.Mkfifo(d.System+"/registries.conf", 0o644); err == nil {
		if _, err := LoadRegistries(d); err == nil {
			t.Error("a FIFO was read")
		}
	}
	d = dirs(t)
	put(t, d.System+"/registries.conf", strings.Repeat("#", maxFile+1))
	if _, err := LoadRegistries(d); err == nil {
		t.Error("a huge file was read")
	}
	d = dirs(t)
	put(t, d.System+"/registries.conf", "[[registry]]\nprefix=\"h.x\"\nlocation=\"h.x/../..\"\n")
	r, err := LoadRegistries(d)
	if err != nil {
		t.Fatal(err)
	}
	ref, _ := reference.Parse("h.x/a")
	if _, err := r.Endpoints(ref); err == nil {
		t.Error("location with ..")
	}
}

func TestPolicy(t *testing.T) {
	const accept, reject = `[{"type":"insecureAcceptAnything"}]`, `[{"type":"reject"}]`
	tree := `{"default":` + reject + `,"transports":{"docker":{
		"good.x":` + accept + `,
		"good.x/bad":` + reject + `,
		"good.x/bad/but:ok":` + accept + `,
		"good.x/pinned` + digest + `":` + accept + `,
		"*.sub.x":` + accept + `,
		"signed.x":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}],
		"both.x":[{"type":"insecureAcceptAnything"},{"type":"reject"}]
	},"docker-archive":{"":` + accept + `,"/bad":` + reject + `}}}`
	p, err := parsePolicy([]byte(tree))
	if err != nil {
		t.Fatal(err)
	}
	p.path = "policy.json"
	for name, allowed := range map[string]bool{
		"debian": false, "good.x/a": true, "good.x:5000/a": false, "good.x/bad": false, "good.x/bad/x": false, "good.x/bad/but:ok": true, "good.x/bad/but:no": false,
		"good.x/badger": true, "h.sub.x/a": true, "h.sub.x:5000/a": true, "sub.x/a": false, "signed.x/a": false, "both.x/a": false,
	} {
		ref, _ := reference.Parse(name)
		if err := p.Allow(ref); (err == nil) != allowed || err != nil && !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.AllowFile("docker-archive", "/home/x.tar") != nil || p.AllowFile("docker-archive", "/bad/x.tar") == nil || p.AllowFile("oci", "/x") == nil {
		t.Error("AllowFile")
	}
	ref, _ := reference.Parse("signed.x/a")
	if err := p.Allow(ref); !strings.Contains(err.Error(), `"signedBy" is not supported`) {
		t.Error(err)
	}
}

// A54: whatever is wrong with the file, nothing is pulled.
func TestPolicyFailsClosed(t *testing.T) {
	ref, _ := reference.Parse("h.x/a")
	for _, c := range []struct{ name, text string }{
		{"empty file", ``}, {"null", `null`}, {"list", `[]`}, {"cut", `{"default":[{"type":"insecureAcceptAnything"}]`},
		{"no default", `{}`}, {"empty default", `{"default":[]}`}, {"null default", `{"default":null}`}, {"other case", `{"Default":[{"type":"insecureAcceptAnything"}]}`},
		{"unknown key", `{"default":[{"type":"insecureAcceptAnything"}],"transport":{"docker":{"":[{"type":"reject"}]}}}`},
		{"key twice", `{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}`},
		{"type missing", `{"default":[{}]}`}, {"type twice", `{"default":[{"type":"reject","type":"insecureAcceptAnything"}]}`},
		{"unknown type", `{"default":[{"type":"insecureacceptanything"}]}`}, {"type number", `{"default":[{"type":1}]}`},
		{"key beside accept", `{"default":[{"type":"insecureAcceptAnything","keyPath":"/x"}]}`},
		{"bad scope list", `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"h.x":[]}}}`},
		{"bad transports", `{"default":[{"type":"insecureAcceptAnything"}],"transports":[]}`},
		{"garbage behind", `{"default":[{"type":"insecureAcceptAnything"}]} x`},
	} {
		d := dirs(t)
		put(t, d.System+"/policy.json", c.text)
		p, err := LoadPolicy(d)
		if err == nil {
			err = p.Allow(ref)
		}
		if !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), "policy.json") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	d := dirs(t)
	if p, err := LoadPolicy(d); err != nil || p.Allow(ref) != nil {
		t.Errorf("no file: %v", err)
	}
	put(t, d.System+"/policy.json", `{"default":[{"type":"reject"}]}`)
	put(t, d.User+"/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	if p, err := LoadPolicy(d); err != nil || p.Allow(ref) != nil {
		t.Errorf("the user's file counts first: %v", err)
	}
	_ = os.Remove(d.User + "/policy.json")
	_ = os.Mkdir(d.User+"/policy.json", 0o755)
	if _, err := LoadPolicy(d); !errors.Is(err, ErrPolicy) {
		t.Errorf("a folder instead of the file: %v", err)
	}
}

func TestCertificatesBad(t *testing.T) {
	for _, host := range []string{"", ".", "..", "../etc", "a/b"} {
		if _, err := Certificates(dirs(t), host); err == nil {
			t.Errorf("host %q", host)
		}
	}
	d := dirs(t)
	put(t, d.Certs[0]+"/h.x/ca.crt", "not PEM")
	if _, err := Certificates(d, "h.x"); err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Error(err)
	}
	d = dirs(t)
	put(t, d.Certs[0]+"/h.x/client.cert", "not PEM")
	if _, err := Certificates(d, "h.x"); err == nil || !strings.Contains(err.Error(), "client.key is missing") {
		t.Error(err)
	}
	if c, err := Certificates(dirs(t), "h.x"); err != nil || c.Pool() != nil {
		t.Error("nothing set up must mean the system's authorities")
	}
}

// A136: nothing is read from the current folder.
func TestDirsAbsolute(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "CONTAINERS_REGISTRIES_CONF"} {
		t.Setenv(name, "relative")
	}
	d := DefaultDirs()
	for _, path := range append([]string{d.System, d.User, d.Registries}, d.Certs...) {
		if path != "" && !filepath.IsAbs(path) {
			t.Errorf("%q", path)
		}
	}
	main, dropins := Dirs{}.registriesFiles()
	if len(main)+len(dropins) != 0 {
		t.Errorf("%q %q", main, dropins)
	}
}

func TestCheckJSON(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{
		{`{}`, true}, {`[1,"a",null,{"a":{"a":1}}]`, true}, {`"x"`, true}, {` {"a":1} `, true}, {`{"a":1,"A":2}`, true},
		{``, false}, {`{"a":1,"a":2}`, false}, {`{"\u0061":1,"a":2}`, false}, {`[{"x":{"a":1,"a":2}}]`, false}, {`{} {}`, false}, {`{"a"}`, false}, {`{"a":}`, false}, {`[`, false},
		{strings.Repeat("[", 60) + strings.Repeat("]", 60), true}, {strings.Repeat("[", 70) + strings.Repeat("]", 70), false}, {strings.Repeat("[", 1_000_000), false},
	} {
		if err := CheckJSON([]byte(c.in)); (err == nil) != c.ok {
			t.Errorf("%.40s: %v", c.in, err)
		}
	}
}

func FuzzRegistries(f *testing.F) {
	f.Add("[[registry]]\nprefix=\"*.x\"\nlocation=\"h.x/a\"\n[[registry.mirror]]\nlocation=\"m\"\n", "a.x/b")
	f.Add("[[registry]]\nlocation=\"docker.io\"\nblocked=true", "debian")
	f.Fuzz(func(t *testing.T, text, name string) {
		rules, err := parseRegistries([]byte(text))
		ref, err2 := reference.Parse(name)
		if err != nil || err2 != nil {
			return
		}
		all, err := (&Registries{rules: rules}).Endpoints(ref)
		if err != nil {
			return
		}
		for _, e := range all {
			again, err := reference.ParseName(e.Ref.String())
			if err != nil || again != e.Ref {
				t.Errorf("%q moves %s to %v: %v", text, ref, e.Ref, err)
			}
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"default":[{"type":"reject"}],"transports":{"docker":{"h.x":[{"type":"insecureAcceptAnything"}]}}}`), "h.x/a")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		p, err := parsePolicy(data)
		ref, err2 := reference.Parse(name)
		if err != nil || err2 != nil {
			return
		}
		p.path = "x"
		if p.Allow(ref) == nil && !strings.Contains(string(data), "insecureAcceptAnything") && !strings.Contains(string(data), `\u`) {
			t.Errorf("%s allowed by %q", ref, data)
		}
	})
}
