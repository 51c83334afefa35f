package volume

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Filter selects volumes. The zero value accepts all.
type Filter struct {
	dangling  *bool
	drivers   []string
	names     []*regexp.Regexp
	labels    []string // key or key=value, each must match
	notLabels []string // none may match
	All       bool     // all=true, of prune
}

// ParseFilter reads --filter values, KEY=VALUE each. allowed names the keys that
// the command knows: dangling, driver, label, label!, name, all.
func ParseFilter(values []string, allowed ...string) (Filter, error) {
	var f Filter
	for _, value := range values {
		key, arg, ok := strings.Cut(value, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !ok {
			return f, fmt.Errorf("invalid argument %q for \"--filter\" flag: bad format of filter (expected name=value)", value)
		}
		if !slices.Contains(allowed, key) {
			return f, fmt.Errorf("invalid filter '%s'", key)
		}
		if err := f.add(key, strings.TrimSpace(arg)); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *Filter) add(key, arg string) error {
	switch key {
	case "dangling", "all":
		b, err := strconv.ParseBool(arg)
		if err != nil {
			return fmt.Errorf("invalid filter '%s=[%s]'", key, arg)
		}
		if key == "all" {
			f.All = b
		} else {
			f.dangling = &b
		}
	case "driver":
		f.drivers = append(f.drivers, arg)
	case "label":
		f.labels = append(f.labels, arg)
	case "label!":
		f.notLabels = append(f.notLabels, arg)
	case "name":
		// docker matches anywhere in the name, and takes patterns.
		pattern, err := regexp.Compile(arg)
		if err != nil {
			pattern = regexp.MustCompile(regexp.QuoteMeta(arg))
		}
		f.names = append(f.names, pattern)
	}
	return nil
}

// List returns the volumes that filter accepts, by name. users is asked only when
// the filter has dangling, and may be nil otherwise.
func (s *Store) List(filter Filter, users Users) ([]*Volume, error) {
	volumes, err := s.all()
	var list []*Volume
	for _, v := range volumes {
		if !filter.accepts(v) {
			continue
		}
		if filter.dangling != nil {
			by, err := users(v.Name)
			if err != nil {
				return nil, err
			}
			if (len(by) == 0) != *filter.dangling {
				continue
			}
		}
		list = append(list, v)
	}
	return list, err
}

// accepts judges all but dangling.
func (f Filter) accepts(v *Volume) bool {
	if len(f.drivers) > 0 && !slices.Contains(f.drivers, Driver) {
		return false
	}
	named := len(f.names) == 0
	for _, pattern := range f.names {
		named = named || pattern.MatchString(v.Name)
	}
	if !named {
		return false
	}
	for _, label := range f.labels {
		if !v.hasLabel(label) {
			return false
		}
	}
	for _, label := range f.notLabels {
		if v.hasLabel(label) {
			return false
		}
	}
	return true
}

func (v *Volume) hasLabel(want string) bool {
	key, value, hasValue := strings.Cut(want, "=")
	have, ok := v.Labels[key]
	return ok && (!hasValue || have == value)
}
