package conf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"bryo/rootfs/reference"
)

// ErrPolicy is wrapped by every refusal that comes from policy.json.
var ErrPolicy = errors.New("refused by policy.json")

// Policy is a parsed policy.json. The zero value allows everything: a machine
// without the file has no policy, as with docker.
type Policy struct {
	path       string
	def        []requirement
	transports map[string]map[string][]requirement
}

// requirement keeps only the type: bryo accepts or refuses, it verifies no
// signatures.
type requirement struct {
	Type string
}

// LoadPolicy reads the user's policy.json, else the system's. Both missing is
// an empty policy; an unreadable or broken one is an error.
func LoadPolicy(d Dirs) (*Policy, error) {
	var paths []string
	for _, dir := range []string{d.User, d.System} {
		if dir != "" {
			paths = append(paths, filepath.Join(dir, "policy.json"))
		}
	}
	path, data, err := firstFile(paths...)
	if errors.Is(err, fs.ErrNotExist) {
		return &Policy{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrPolicy)
	}
	p, err := parsePolicy(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, err, ErrPolicy)
	}
	p.path = path
	return p, nil
}

// parsePolicy is strict about every key: a misspelt "default" must not turn
// into "no rule". encoding/json alone would match keys in any letter case and
// take the last of two equal keys.
func parsePolicy(data []byte) (*Policy, error) {
	if err := CheckJSON(data); err != nil {
		return nil, err
	}
	top, err := object(data, "default", "transports")
	if err != nil {
		return nil, err
	}
	p := &Policy{transports: map[string]map[string][]requirement{}}
	if p.def, err = requirements(top["default"]); err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	if top["transports"] == nil {
		return p, nil
	}
	transports, err := object(top["transports"])
	if err != nil {
		return nil, fmt.Errorf("transports: %w", err)
	}
	for name, raw := range transports {
		scopes, err := object(raw)
		if err != nil {
			return nil, fmt.Errorf("transports.%s: %w", name, err)
		}
		p.transports[name] = map[string][]requirement{}
		for scope, raw := range scopes {
			if p.transports[name][scope], err = requirements(raw); err != nil {
				return nil, fmt.Errorf("transports.%s[%q]: %w", name, scope, err)
			}
		}
	}
	return p, nil
}

// object decodes a JSON object; with names, no other key may occur.
func object(data []byte, names ...string) (map[string]json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errors.New("not an object")
	}
	for key := range m {
		if len(names) > 0 && key != names[0] && key != names[len(names)-1] {
			return nil, fmt.Errorf("unknown key %q", key)
		}
	}
	return m, nil
}

func requirements(data []byte) ([]requirement, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("missing")
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("empty list of requirements")
	}
	out := make([]requirement, len(list))
	for i, m := range list {
		if err := json.Unmarshal(m["type"], &out[i].Type); err != nil {
			return nil, fmt.Errorf("requirement %d: type: %w", i, err)
		}
		if out[i].accepts() && len(m) != 1 {
			return nil, fmt.Errorf("requirement %d: unknown key beside the type %s", i, out[i].Type)
		}
	}
	return out, nil
}

func (r requirement) accepts() bool { return r.Type == "insecureAcceptAnything" }

// Allow returns nil when an image may be used that comes from a registry under
// this name.
func (p *Policy) Allow(ref reference.Reference) error {
	return p.check("docker", ref.String(), scopes(ref))
}

// AllowFile is Allow for what is loaded from the path of an archive or folder;
// transport is "docker-archive", "oci-archive", "oci", "dir" or "tarball".
func (p *Policy) AllowFile(transport, path string) error {
	all := []string{path}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		all = append(all, dir)
		if dir == "/" || dir == "." {
			break
		}
	}
	return p.check(transport, path, all)
}

// check applies the requirements of the most specific scope; all must hold.
func (p *Policy) check(transport, name string, scopes []string) error {
	if p.path == "" && p.def == nil {
		return nil
	}
	list := p.def
	byScope := p.transports[transport]
	for _, scope := range append(scopes, "") {
		if l, ok := byScope[scope]; ok {
			list = l
			break
		}
	}
	for _, r := range list {
		switch {
		case r.accepts():
		case r.Type == "reject":
			return fmt.Errorf("%s: %w (%s)", name, ErrPolicy, p.path)
		default:
			return fmt.Errorf("%s: %w (%s): requirement %q is not supported", name, ErrPolicy, p.path, r.Type)
		}
	}
	return nil
}

// scopes lists the keys that may name ref, the most specific first: the exact
// reference, the repository, each parent, the host, then "*.domain".
func scopes(ref reference.Reference) []string {
	exact := ref.Name() + ":" + ref.Tag
	if ref.Digest != "" {
		exact = ref.Name() + "@" + ref.Digest
	}
	out := []string{exact}
	for name := ref.Name(); ; {
		out = append(out, name)
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			break
		}
		name = name[:slash]
	}
	host, _, _ := strings.Cut(ref.Domain, ":")
	for {
		_, rest, ok := strings.Cut(host, ".")
		if !ok {
			return out
		}
		host = rest
		out = append(out, "*."+host)
	}
}
