package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"bryo/rootfs/reference"
)

// Registries is the merged registries.conf.
type Registries struct {
	rules []rule
}

// rule is one [[registry]] table.
type rule struct {
	Prefix             string   `toml:"prefix"`
	Location           string   `toml:"location"`
	Insecure           bool     `toml:"insecure"`
	Blocked            bool     `toml:"blocked"`
	MirrorByDigestOnly bool     `toml:"mirror-by-digest-only"`
	Mirrors            []mirror `toml:"mirror"`
}

type mirror struct {
	Location       string `toml:"location"`
	Insecure       bool   `toml:"insecure"`
	PullFromMirror string `toml:"pull-from-mirror"` // "all", "digest-only", "tag-only" or empty for "all"
}

// file is one registries.conf; the V1 field only serves to refuse the old format.
type file struct {
	Registry []rule         `toml:"registry"`
	V1       map[string]any `toml:"registries"`
}

// Endpoint is one place that may serve a reference.
type Endpoint struct {
	Ref      reference.Reference // what to ask for there; Domain is the registry as the user writes it
	Insecure bool                // plain http and unverified TLS are allowed
	Mirror   bool
}

// ErrBlocked is wrapped by Endpoints when registries.conf blocks a registry.
var ErrBlocked = errors.New("blocked by registries.conf")

// LoadRegistries reads the main file and the drop-in folders. A user's own
// main file replaces the system's, drop-ins included; later tables replace
// earlier ones of the same prefix.
func LoadRegistries(d Dirs) (*Registries, error) {
	main, dropins := d.registriesFiles()
	r := new(Registries)
	path, data, err := firstFile(main...)
	switch {
	case err == nil:
		err = r.add(path, data)
	case errors.Is(err, fs.ErrNotExist) && d.Registries == "":
		err = nil
	}
	if err != nil {
		return nil, err
	}
	for _, dir := range dropins {
		if err := r.addDir(dir); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// registriesFiles lists the candidates for the main file and the drop-in
// folders, in order.
func (d Dirs) registriesFiles() (main, dropins []string) {
	for _, dir := range []string{d.System, d.User} {
		if dir == "" {
			continue
		}
		path := filepath.Join(dir, "registries.conf")
		if _, err := os.Stat(path); err == nil && dir == d.User {
			main, dropins = nil, nil
		}
		main, dropins = append(main, path), append(dropins, path+".d")
	}
	if d.Registries != "" {
		main = []string{d.Registries}
	}
	return main, dropins
}

// addDir adds DIR/*.conf in the order of their names.
func (r *Registries) addDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".conf") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := readFile(path)
		if err != nil {
			return err
		}
		if err := r.add(path, data); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registries) add(path string, data []byte) error {
	rules, err := parseRegistries(data)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for _, new := range rules {
		r.rules = slices.DeleteFunc(r.rules, func(old rule) bool { return old.Prefix == new.Prefix })
		r.rules = append(r.rules, new)
	}
	return nil
}

func parseRegistries(data []byte) ([]rule, error) {
	var f file
	if err := toml.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f.V1 != nil {
		return nil, errors.New("version 1 format ([registries.*]) is not supported: write [[registry]] tables")
	}
	for i := range f.Registry {
		if err := f.Registry[i].check(); err != nil {
			return nil, err
		}
	}
	return f.Registry, nil
}

// check normalizes a table and refuses what has no meaning.
func (r *rule) check() error {
	r.Prefix, r.Location = strings.TrimRight(r.Prefix, "/"), strings.TrimRight(r.Location, "/")
	if r.Prefix == "" {
		r.Prefix = r.Location
	}
	if r.Prefix == "" {
		return errors.New("[[registry]] has neither prefix nor location")
	}
	if err := checkPlace(r.Location); err != nil {
		return err
	}
	if err := checkPlace(strings.TrimPrefix(r.Prefix, "*.")); err != nil {
		return err
	}
	for i := range r.Mirrors {
		m := &r.Mirrors[i]
		m.Location = strings.TrimRight(m.Location, "/")
		if m.Location == "" {
			return fmt.Errorf("[[registry.mirror]] of %s has no location", r.Prefix)
		}
		if err := checkPlace(m.Location); err != nil {
			return err
		}
		switch m.PullFromMirror {
		case "", "all", "digest-only", "tag-only":
		default:
			return fmt.Errorf("pull-from-mirror of %s: unknown value %q", m.Location, m.PullFromMirror)
		}
		if r.MirrorByDigestOnly && m.PullFromMirror != "" {
			return fmt.Errorf("%s: mirror-by-digest-only and pull-from-mirror exclude each other", r.Prefix)
		}
	}
	return nil
}

// checkPlace refuses URLs and white space, the usual mistakes in a location.
func checkPlace(place string) error {
	if strings.Contains(place, "://") {
		return fmt.Errorf("location %q: write HOST[:PORT][/PATH] without a scheme", place)
	}
	if strings.ContainsAny(place, " \t\r\n\x00\\?#") {
		return fmt.Errorf("location %q: invalid character", place)
	}
	return nil
}

// Endpoints lists where ref may be pulled from, in order: mirrors first, the
// registry itself last.
func (r *Registries) Endpoints(ref reference.Reference) ([]Endpoint, error) {
	rule, matched := r.find(ref.String())
	if rule == nil {
		return []Endpoint{{Ref: ref}}, nil
	}
	if rule.Blocked {
		return nil, fmt.Errorf("registry %s: %w", rule.Prefix, ErrBlocked)
	}
	var out []Endpoint
	for _, m := range rule.Mirrors {
		if !m.serves(ref, rule.MirrorByDigestOnly) {
			continue
		}
		moved, err := move(ref, matched, m.Location)
		if err != nil {
			return nil, err
		}
		out = append(out, Endpoint{Ref: moved, Insecure: m.Insecure, Mirror: true})
	}
	own, err := move(ref, matched, rule.Location)
	if err != nil {
		return nil, err
	}
	return append(out, Endpoint{Ref: own, Insecure: rule.Insecure}), nil
}

// Origin is where ref is pushed: the registry itself, never a mirror.
func (r *Registries) Origin(ref reference.Reference) (Endpoint, error) {
	all, err := r.Endpoints(ref)
	if err != nil {
		return Endpoint{}, err
	}
	return all[len(all)-1], nil
}

func (m mirror) serves(ref reference.Reference, digestOnly bool) bool {
	switch {
	case digestOnly || m.PullFromMirror == "digest-only":
		return ref.Digest != ""
	case m.PullFromMirror == "tag-only":
		return ref.Digest == ""
	}
	return true
}

// find returns the table with the longest matching prefix, and how much of
// ref it covers.
func (r *Registries) find(ref string) (*rule, string) {
	var best *rule
	var covered string
	for i := range r.rules {
		rule := &r.rules[i]
		if part := matchPrefix(ref, rule.Prefix); part != "" && (best == nil || len(rule.Prefix) > len(best.Prefix)) {
			best, covered = rule, part
		}
	}
	return best, covered
}

// matchPrefix returns the part of ref that prefix covers, or "". A prefix ends
// at a component: "h.x/a" covers "h.x/a/b" and "h.x/a:t" but not "h.x/ab".
// "*.x" covers every host below x.
func matchPrefix(ref, prefix string) string {
	if suffix, ok := strings.CutPrefix(prefix, "*"); ok {
		host, _, _ := strings.Cut(ref, "/")
		name, _, _ := strings.Cut(host, ":")
		if strings.HasPrefix(suffix, ".") && len(name) > len(suffix) && strings.HasSuffix(name, suffix) {
			return name
		}
		return ""
	}
	if !strings.HasPrefix(ref, prefix) {
		return ""
	}
	if rest := ref[len(prefix):]; rest != "" && !strings.ContainsRune("/:@", rune(rest[0])) {
		return ""
	}
	return prefix
}

// move replaces the covered part of ref by location.
func move(ref reference.Reference, covered, location string) (reference.Reference, error) {
	if location == "" {
		return ref, nil
	}
	moved := location + strings.TrimPrefix(ref.String(), covered)
	out, err := reference.ParseName(moved)
	if err != nil {
		return out, fmt.Errorf("registries.conf moves %s to %s: %w", ref, moved, err)
	}
	return out, nil
}

// Insecure reports whether a bare host (for login and search) is marked
// insecure.
func (r *Registries) Insecure(host string) bool {
	rule, _ := r.find(host)
	return rule != nil && rule.Insecure
}

// Blocked reports whether a bare host is blocked as a whole.
func (r *Registries) Blocked(host string) bool {
	rule, _ := r.find(host)
	return rule != nil && rule.Blocked
}
