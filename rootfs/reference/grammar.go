package reference

import (
	"errors"
	"strings"
)

// Errors of ValidDigest.
var (
	ErrDigestFormat      = errors.New("invalid checksum digest format")
	ErrDigestLength      = errors.New("invalid checksum digest length")
	ErrDigestUnsupported = errors.New("unsupported digest algorithm")
)

// match parses "domain/path[:tag][@digest]". Every separator is outside the
// alphabet of the part to its left, so one pass without backtracking is
// exact: the first "@" starts the digest, and the first ":" behind the last
// "/" starts the tag. A first component that is no domain becomes part of the
// path, with the domain left empty.
func match(s string) (Reference, bool) {
	rest, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !isLooseDigest(digest) {
		return Reference{}, false
	}
	slash := strings.LastIndexByte(rest, '/') + 1
	tag, hasTag := "", false
	if colon := strings.IndexByte(rest[slash:], ':'); colon >= 0 {
		hasTag = true
		tag, rest = rest[slash+colon+1:], rest[:slash+colon]
	}
	if hasTag && !isTag(tag) {
		return Reference{}, false
	}
	domain, path, _ := strings.Cut(rest, "/")
	if !isDomain(domain) {
		domain, path = "", rest
	}
	if !isPath(path) {
		return Reference{}, false
	}
	return Reference{Domain: domain, Path: path, Tag: tag, Digest: digest}, true
}

// isDomain accepts a DNS-like name, an IPv4 address or a bracketed IPv6
// address, each with an optional decimal port.
func isDomain(s string) bool {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 2 || !all(s[1:end], func(c byte) bool { return isHex(c) || c == ':' }) {
			return false
		}
		if port = s[end+1:]; port == "" {
			return true
		}
		return port[0] == ':' && isPort(port[1:])
	}
	if colon := strings.IndexByte(s, ':'); colon >= 0 {
		if host, port = s[:colon], s[colon+1:]; !isPort(port) {
			return false
		}
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isPort(s string) bool { return s != "" && all(s, isDigit) }

// isLabel: letters, digits and inner dashes.
func isLabel(s string) bool {
	return s != "" && isAlnum(s[0]) && isAlnum(s[len(s)-1]) &&
		all(s, func(c byte) bool { return isAlnum(c) || c == '-' })
}

func isPath(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !isPathComponent(component) {
			return false
		}
	}
	return true
}

// isPathComponent: lower-case letters and digits in runs parted by one dot,
// one or two underscores, or any number of dashes.
func isPathComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isLowerAlnum(s[i]) {
			i++
			continue
		}
		start := i
		for i < len(s) && !isLowerAlnum(s[i]) {
			i++
		}
		if !isSeparator(s[start:i]) {
			return false
		}
	}
	return true
}

func isSeparator(s string) bool {
	return s == "." || s == "_" || s == "__" || strings.Trim(s, "-") == ""
}

// isTag: up to 128 of letters, digits, "_", "." and "-", not starting with
// one of the last two.
func isTag(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	return all(s, func(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c == '-' })
}

// isLooseDigest is the reference grammar's idea of a digest, wider than
// ValidDigest: it only decides between "invalid reference format" and the
// digest's own error.
func isLooseDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || len(hex) < 32 || !all(hex, isHex) {
		return false
	}
	start := true // at the start of a component: a letter must come
	for i := 0; i < len(algorithm); i++ {
		c := algorithm[i]
		switch {
		case start && !isLetter(c):
			return false
		case isAlnum(c):
			start = false
		case c == '-' || c == '_' || c == '+' || c == '.':
			start = true
		default:
			return false
		}
	}
	return !start
}

// ValidDigest accepts "algorithm:lower-case hex" for sha256, sha384 and
// sha512 with exactly the right length. Nothing else may become part of a
// path or URL: "sha256:../.." ends here.
func ValidDigest(s string) error {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || algorithm == "" || hex == "" {
		return ErrDigestFormat
	}
	size, ok := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
	switch {
	case !ok && isDigestShape(algorithm, hex):
		return ErrDigestUnsupported
	case !ok:
		return ErrDigestFormat
	case len(hex) != size:
		return ErrDigestLength
	case !all(hex, func(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }):
		return ErrDigestFormat
	}
	return nil
}

// isDigestShape is the image spec's grammar of a digest of any algorithm.
func isDigestShape(algorithm, encoded string) bool {
	if !all(encoded, func(c byte) bool { return isAlnum(c) || c == '=' || c == '_' || c == '-' }) {
		return false
	}
	parts := strings.FieldsFunc(algorithm, func(r rune) bool { return strings.ContainsRune("+._-", r) })
	// FieldsFunc swallows empty parts; one separator must sit between two parts.
	if len(strings.Join(parts, ".")) != len(algorithm) {
		return false
	}
	return all(strings.Join(parts, ""), isLowerAlnum)
}

// isIdentifier: 64 lower-case hex digits, an image or container ID.
func isIdentifier(s string) bool {
	return len(s) == 64 && all(s, func(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' })
}

func all(s string, ok func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool      { return '0' <= c && c <= '9' }
func isLower(c byte) bool      { return 'a' <= c && c <= 'z' }
func isLetter(c byte) bool     { return isLower(c) || 'A' <= c && c <= 'Z' }
func isAlnum(c byte) bool      { return isLetter(c) || isDigit(c) }
func isLowerAlnum(c byte) bool { return isLower(c) || isDigit(c) }
func isHex(c byte) bool        { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
