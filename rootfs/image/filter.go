package image

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bryo/rootfs/reference"
)

// Filter holds docker's --filter arguments for images: key to values. Values of
// one key are alternatives, except for labels, which must all fit.
type Filter map[string][]string

// Filter keys of `images` and `image prune`.
const (
	filterDangling  = "dangling"
	filterLabel     = "label"
	filterNotLabel  = "label!"
	filterBefore    = "before"
	filterSince     = "since"
	filterReference = "reference"
	filterUntil     = "until"
)

// ParseFilter reads arguments of the form key=value, or label!=value.
func ParseFilter(arguments []string) (Filter, error) {
	filter := Filter{}
	for _, argument := range arguments {
		key, value, found := strings.Cut(argument, "=")
		if !found {
			return nil, fmt.Errorf("invalid argument %q for \"--filter\" flag: bad format of filter (expected name=value)", argument)
		}
		key = strings.ToLower(strings.TrimSpace(key))
		switch key {
		case filterDangling, filterLabel, filterNotLabel, filterBefore, filterSince, filterReference, filterUntil:
			filter[key] = append(filter[key], strings.TrimSpace(value))
		default:
			return nil, fmt.Errorf("invalid filter '%s'", key)
		}
	}
	return filter, nil
}

// Dangling reads the dangling filter: whether it was given, and its value.
func (f Filter) Dangling() (given, value bool, err error) {
	values := f[filterDangling]
	if len(values) == 0 {
		return false, false, nil
	}
	if value, err = strconv.ParseBool(values[0]); err != nil {
		return false, false, fmt.Errorf("invalid filter 'dangling=%s'", values[0])
	}
	return true, value, nil
}

// apply keeps the order of the list.
func (f Filter) apply(all []Summary) ([]Summary, error) {
	tests, err := f.tests(all)
	if err != nil {
		return nil, err
	}
	kept := all[:0:0]
	for _, s := range all {
		if !slices.ContainsFunc(tests, func(fits func(*Summary) bool) bool { return !fits(&s) }) {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// tests turns the filter into functions that an image must all pass.
func (f Filter) tests(all []Summary) ([]func(*Summary) bool, error) {
	var tests []func(*Summary) bool
	add := func(test func(*Summary) bool) { tests = append(tests, test) }
	given, dangling, err := f.Dangling()
	if err != nil {
		return nil, err
	}
	if given {
		add(func(s *Summary) bool { return s.Dangling == dangling })
	}
	for _, label := range f[filterLabel] {
		add(func(s *Summary) bool { return hasLabel(s.Labels, label) })
	}
	for _, label := range f[filterNotLabel] {
		add(func(s *Summary) bool { return !hasLabel(s.Labels, label) })
	}
	if patterns := f[filterReference]; len(patterns) > 0 {
		add(func(s *Summary) bool { return slices.ContainsFunc(patterns, s.matches) })
	}
	for _, text := range f[filterUntil] {
		limit, err := ParseTime(text, time.Now())
		if err != nil {
			return nil, err
		}
		add(func(s *Summary) bool { return s.Created.Before(limit) })
	}
	more, err := f.relative(all)
	return append(tests, more...), err
}

// relative makes the tests that compare with another image's date.
func (f Filter) relative(all []Summary) (tests []func(*Summary) bool, err error) {
	for _, key := range []string{filterBefore, filterSince} {
		for _, ref := range f[key] {
			other, err := findSummary(all, ref)
			if err != nil {
				return nil, err
			}
			before := key == filterBefore
			tests = append(tests, func(s *Summary) bool {
				if before {
					return s.Created.Before(other.Created)
				}
				return s.Created.After(other.Created)
			})
		}
	}
	return tests, nil
}

func findSummary(all []Summary, ref string) (*Summary, error) {
	images := make([]Image, len(all))
	for i := range all {
		images[i] = all[i].image
	}
	found, err := Find(images, ref, "")
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == found.ID {
			return &all[i], nil
		}
	}
	return nil, &NotFoundError{Ref: ref}
}

func hasLabel(labels map[string]string, want string) bool {
	key, value, valued := strings.Cut(want, "=")
	got, found := labels[key]
	return found && (!valued || got == value)
}

// matches tells whether one of the image's names fits a pattern such as
// "debian", "deb*:b*" or "*/*/app": with the tag or without.
func (s *Summary) matches(pattern string) bool {
	for _, tag := range append(slices.Clone(s.RepoTags), s.RepoDigests...) {
		ref, err := reference.Parse(tag)
		if err != nil {
			continue
		}
		for _, form := range []string{ref.Familiar(), ref.FamiliarName(), ref.String(), ref.Name()} {
			if fits, err := path.Match(pattern, form); err == nil && fits {
				return true
			}
		}
	}
	return false
}

// ParseTime reads a point in time as docker's until and since do: a duration
// before now, a Unix time, or a date with as much of the time of day as is given.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02", "2006-01-02Z07:00"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > -1e11 && seconds < 1e11 {
		return time.UnixMicro(int64(seconds * 1e6)), nil
	}
	return time.Time{}, fmt.Errorf("invalid time %q: want a duration (24h), a date or a Unix time", text)
}
