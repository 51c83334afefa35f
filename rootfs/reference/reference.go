// Package reference reads image names the way docker does: "debian" means
// docker.io/library/debian:latest.
//
// Start with Parse. The grammar lives in grammar.go.
//
// The accepted names and the error texts are those of
// github.com/distribution/reference, which the tests use as oracle. That
// module is not linked: compiling its global regular expressions (and those
// of go-digest) costs 0.7 ms at every process start, and every container
// start pays for it. The one difference: a name whose first component looks
// like a host but is none ("foo_bar.x/baz") is refused here; the module gives
// it back without any domain.
//
// It leaves out: short IDs and lookups (rootfs/image), mirrors and
// registries.conf (rootfs/registry/conf).
package reference

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// DefaultDomain is where a name without a host lives.
	DefaultDomain = "docker.io"
	// DefaultTag is taken when a name has neither tag nor digest.
	DefaultTag = "latest"

	legacyDefaultDomain = "index.docker.io"
	officialPrefix      = "library/"
	maxPathLength       = 255
)

// Errors of Parse; compare with errors.Is.
var (
	ErrFormat    = errors.New("invalid reference format")
	ErrUppercase = errors.New("repository name must be lowercase")
	ErrNameLong  = errors.New("repository name must not be more than 255 characters")
	ErrTag       = errors.New("invalid tag format")
)

// Reference names an image, normalized: Domain and Path are never empty.
// Tag and Digest may both be set ("debian:13@sha256:..."): the digest decides
// what is fetched, the tag is only kept for display.
type Reference struct {
	Domain string // "docker.io", "127.0.0.1:5000"
	Path   string // "library/debian"
	Tag    string // "latest", or empty
	Digest string // "sha256:<64 hex>", or empty; validated
}

// Parse reads an image name and adds the tag "latest" when it has neither
// tag nor digest.
func Parse(s string) (Reference, error) {
	r, err := ParseName(s)
	if err != nil {
		return Reference{}, err
	}
	if r.IsNameOnly() {
		r.Tag = DefaultTag
	}
	return r, nil
}

// ParseName is Parse without the default tag, for the places where "debian"
// means the whole repository.
func ParseName(s string) (Reference, error) {
	if isIdentifier(s) {
		return Reference{}, fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	domain, rest := splitDomain(s)
	name, _, _ := strings.Cut(rest, ":")
	if strings.ToLower(name) != name {
		return Reference{}, uppercaseError(name)
	}
	r, ok := match(domain + "/" + rest)
	if !ok {
		if _, ok := match(strings.ToLower(domain + "/" + rest)); ok {
			return Reference{}, ErrUppercase
		}
		return Reference{}, ErrFormat
	}
	if r.Domain == "" {
		return Reference{}, ErrFormat
	}
	if len(r.Path) > maxPathLength {
		return Reference{}, ErrNameLong
	}
	if r.Digest != "" {
		if err := ValidDigest(r.Digest); err != nil {
			return Reference{}, err
		}
	}
	return r, nil
}

type uppercaseError string

func (e uppercaseError) Error() string {
	return fmt.Sprintf("invalid reference format: repository name (%s) must be lowercase", string(e))
}

// Is makes errors.Is(err, ErrFormat) and errors.Is(err, ErrUppercase) hold.
func (uppercaseError) Is(target error) bool { return target == ErrFormat || target == ErrUppercase }

// splitDomain parts a name into the host and the rest with docker's rule: the
// first component is a host when it has a dot, a colon or an upper-case
// letter, or is "localhost".
func splitDomain(s string) (domain, rest string) {
	first, rest, found := strings.Cut(s, "/")
	switch {
	case !found:
		return DefaultDomain, officialPrefix + s
	case first == "localhost":
		domain = first
	case first == legacyDefaultDomain:
		domain = DefaultDomain
	case strings.ContainsAny(first, ".:") || strings.ToLower(first) != first:
		domain = first
	default:
		domain, rest = DefaultDomain, s
	}
	if domain == DefaultDomain && !strings.Contains(rest, "/") {
		rest = officialPrefix + rest
	}
	return domain, rest
}

// Name is the repository with its domain: "docker.io/library/debian".
func (r Reference) Name() string { return r.Domain + "/" + r.Path }

// IsNameOnly reports that the reference has neither tag nor digest.
func (r Reference) IsNameOnly() bool { return r.Tag == "" && r.Digest == "" }

// String is the whole normalized reference:
// "docker.io/library/debian:latest", "host:5000/a:tag@sha256:...".
func (r Reference) String() string { return r.Name() + r.suffix() }

// Familiar is String as docker shows it: "debian:latest".
func (r Reference) Familiar() string { return r.FamiliarName() + r.suffix() }

// FamiliarName is Name as docker shows it: "debian", "user/app",
// "host:5000/a".
func (r Reference) FamiliarName() string {
	if r.Domain != DefaultDomain {
		return r.Name()
	}
	if short, ok := strings.CutPrefix(r.Path, officialPrefix); ok && !strings.Contains(short, "/") {
		return short
	}
	return r.Path
}

// Identifier is what a registry is asked for: the digest when there is one,
// else the tag.
func (r Reference) Identifier() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// WithTag is the same repository with this tag alone.
func (r Reference) WithTag(tag string) (Reference, error) {
	if !isTag(tag) {
		return Reference{}, ErrTag
	}
	return Reference{Domain: r.Domain, Path: r.Path, Tag: tag}, nil
}

// WithDigest is the same repository with this digest alone.
func (r Reference) WithDigest(digest string) (Reference, error) {
	if err := ValidDigest(digest); err != nil {
		return Reference{}, err
	}
	return Reference{Domain: r.Domain, Path: r.Path, Digest: digest}, nil
}

func (r Reference) suffix() string {
	s := ""
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}
