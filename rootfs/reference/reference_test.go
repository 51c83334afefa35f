package reference

import (
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"strings"
	"testing"

	oracle "github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
)

var hex64 = strings.Repeat("a1", 32)

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, full, familiar string }{
		{"debian", "docker.io/library/debian:latest", "debian:latest"},
		{"debian:13", "docker.io/library/debian:13", "debian:13"},
		{"user/app", "docker.io/user/app:latest", "user/app:latest"},
		{"docker.io/debian", "docker.io/library/debian:latest", "debian:latest"},
		{"index.docker.io/debian", "docker.io/library/debian:latest", "debian:latest"},
		{"localhost/a", "localhost/a:latest", "localhost/a:latest"},
		{"127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b"},
		{"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
		{"a@sha256:" + hex64, "docker.io/library/a@sha256:" + hex64, "a@sha256:" + hex64},
		{"h.x/a:t@sha256:" + hex64, "h.x/a:t@sha256:" + hex64, "h.x/a:t@sha256:" + hex64},
		{"Foo/bar", "Foo/bar:latest", "Foo/bar:latest"},
	} {
		r, err := Parse(c.in)
		if err != nil || r.String() != c.full || r.Familiar() != c.familiar {
			t.Errorf("Parse(%q) = %q, %q, %v", c.in, r.String(), r.Familiar(), err)
		}
	}
}

func TestParseRefused(t *testing.T) {
	for _, c := range []struct{ name, in, err string }{
		{"empty", "", "invalid reference format"},
		{"upper case", "library/Debian", "invalid reference format: repository name (library/Debian) must be lowercase"},
		{"upper case alone", "Debian", "invalid reference format: repository name (library/Debian) must be lowercase"},
		{"identifier", hex64, "invalid repository name (" + hex64 + "), cannot specify 64-byte hexadecimal strings"},
		{"dot dot", "../../etc", "invalid reference format"},
		{"digest climbs", "a@sha256:../..", "invalid reference format"},
		{"digest short", "a@sha256:" + strings.Repeat("a", 40), "invalid checksum digest length"},
		{"digest unknown", "a@md9:" + hex64, "unsupported digest algorithm"},
		{"tag long", "a:" + strings.Repeat("t", 129), "invalid reference format"},
		{"name long", "a.b/" + strings.Repeat("n", 256), "repository name must not be more than 255 characters"},
		{"no domain", "foo_bar.x/baz", "invalid reference format"},
		{"control", "a\x00b", "invalid reference format"},
		{"newline", "debian\n", "invalid reference format"},
		{"space", "a b", "invalid reference format"},
		{"two digests", "a@sha256:" + hex64 + "@sha256:" + hex64, "invalid reference format"},
		{"option", "-v", "invalid reference format"},
	} {
		_, err := Parse(c.in)
		if err == nil || err.Error() != c.err {
			t.Errorf("%s: Parse(%q): %v, want %s", c.name, c.in, err, c.err)
		}
	}
}

func TestWith(t *testing.T) {
	r, _ := Parse("debian:13@sha256:" + hex64)
	if got, err := r.WithTag("x"); err != nil || got.String() != "docker.io/library/debian:x" {
		t.Errorf("WithTag: %v %v", got, err)
	}
	if _, err := r.WithTag("a/b"); !errors.Is(err, ErrTag) {
		t.Errorf("WithTag(a/b): %v", err)
	}
	if _, err := r.WithDigest("sha256:../.."); err == nil {
		t.Error("WithDigest(sha256:../..) accepted")
	}
	if r.Identifier() != "sha256:"+hex64 {
		t.Errorf("Identifier: %s", r.Identifier())
	}
}

// seeds cover each rule of the grammar from both sides.
var seeds = []string{
	"", "a", "a:b", "a/b", "a//b", "/a", "a/", "a:", ":a", "a@", "@a", "A", "a/B", "A/b", "A:b",
	"localhost", "localhost/a", "localhost:1/a", "LOCALHOST/a", "docker.io/a", "index.docker.io/a/b", "docker.io/library/a",
	"docker.io/library/a/b", "a.b/c", "a-b.c/d", "-a.b/c", "a-.b/c", "a..b/c", "a.b./c", ".a/b", "a:/b", "a:x/b", "a:1/b:2",
	"[::1]/a", "[::1]:5/a", "[]/a", "[::1/a", "[::1]5/a", "[fe80::1%25lo]/a", "[::ffff:1.2.3.4]/a", "x/[::1]/a",
	"a_b", "a__b", "a___b", "a--b", "a---b", "a.b", "a..b", "a._b", "_a", "a_", "a-", "-a", "a/b_/c",
	"a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129), "a:.b", "a:-b", "a:_b", "a:b-c.d", "a:b:c", "a:b/c",
	hex64, hex64[:63], "x" + hex64, hex64 + ":t", "sha256:" + hex64, "a@sha256:" + hex64, "a@sha256:" + strings.ToUpper(hex64),
	"a@SHA256:" + hex64, "a@sha256:" + hex64[:62], "a@sha512:" + hex64 + hex64, "a@sha384:" + hex64, "a@md5:" + hex64[:32],
	"a@x+y.z-w_v:" + hex64, "a@1x:" + hex64, "a@x..y:" + hex64, "a@x.:" + hex64, "a@:" + hex64, "a:t@sha256:" + hex64,
	"a@sha256:" + hex64[:63] + "g", "a@sha256:../..", "foo_bar.x/baz", "foo_bar:x/baz", "0_A/0", "a\n", "é/a", "K/a", "a:\u212a", "\u212a",
	strings.Repeat("a", 255), strings.Repeat("a", 256), "x.y/" + strings.Repeat("a", 255), "x.y/" + strings.Repeat("a", 256),
}

func TestOracle(t *testing.T) {
	for _, s := range seeds {
		compare(t, s)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(compare)
}

// compare holds ParseName against the module it replaces.
func compare(t *testing.T, s string) {
	t.Helper()
	got, err := ParseName(s)
	want, wantErr := oracle.ParseNormalizedNamed(s)
	if wantErr == nil && oracle.Domain(want) == "" {
		if err == nil {
			t.Errorf("%q accepted without a domain", s)
		}
		return
	}
	if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Fatalf("ParseName(%q): error %v, want %v", s, err, wantErr)
	}
	if err != nil {
		return
	}
	if got.String() != want.String() || got.Familiar() != oracle.FamiliarString(want) ||
		got.Domain != oracle.Domain(want) || got.Path != oracle.Path(want) {
		t.Fatalf("ParseName(%q) = %+v, want %s (%s)", s, got, want, oracle.FamiliarString(want))
	}
	full, _ := Parse(s)
	if full.String() != oracle.TagNameOnly(want).String() {
		t.Fatalf("Parse(%q) = %s, want %s", s, full, oracle.TagNameOnly(want))
	}
}

func FuzzDigest(f *testing.F) {
	for _, s := range seeds {
		_, d, _ := strings.Cut(s, "@")
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, want := digest.Parse(s)
		got := ValidDigest(s)
		if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
			t.Fatalf("ValidDigest(%q): %v, want %v", s, got, want)
		}
	})
}
