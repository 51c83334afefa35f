package registry

import (
	"errors"
	"strings"
)

// challenge is one scheme of a WWW-Authenticate header (RFC 9110, 11.3).
type challenge struct {
	scheme string            // lower case: "bearer", "basic"
	params map[string]string // keys in lower case
}

const (
	maxChallenge  = 16 << 10
	maxChallenges = 16
)

var errChallenge = errors.New("malformed WWW-Authenticate header")

// parseChallenges reads all header lines:
//
//	Bearer realm="https://auth/token",service="s", Basic realm="x"
//
// A comma parts both parameters and schemes; a word followed by "=" is a
// parameter, any other word starts a scheme.
func parseChallenges(lines []string) ([]challenge, error) {
	var out []challenge
	for _, line := range lines {
		if len(line) > maxChallenge {
			return nil, errChallenge
		}
		p := scanner{rest: line}
		for p.skip(", \t"); p.rest != ""; p.skip(", \t") {
			word := p.token()
			if word == "" {
				return nil, errChallenge
			}
			if len(out) == 0 || !p.peekEquals() {
				if len(out) == maxChallenges {
					return nil, errChallenge
				}
				out = append(out, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
				continue
			}
			value, ok := p.value()
			if !ok {
				return nil, errChallenge
			}
			params := out[len(out)-1].params
			if _, twice := params[strings.ToLower(word)]; twice {
				return nil, errChallenge // two realms: which one is meant?
			}
			params[strings.ToLower(word)] = value
		}
	}
	return out, nil
}

type scanner struct{ rest string }

func (p *scanner) skip(chars string) { p.rest = strings.TrimLeft(p.rest, chars) }

// token takes the characters of RFC 9110's token.
func (p *scanner) token() string {
	n := 0
	for n < len(p.rest) && isTokenChar(p.rest[n]) {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	return word
}

func isTokenChar(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune("()<>@,;:\\\"/[]?={}", rune(c))
}

func (p *scanner) peekEquals() bool {
	return strings.HasPrefix(strings.TrimLeft(p.rest, " \t"), "=")
}

// value takes ="quoted" or =token.
func (p *scanner) value() (string, bool) {
	p.skip(" \t")
	p.rest = p.rest[1:] // the "=" that peekEquals saw
	p.skip(" \t")
	if !strings.HasPrefix(p.rest, `"`) {
		word := p.token()
		return word, word != ""
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case '\\':
			if i++; i < len(p.rest) {
				b.WriteByte(p.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
