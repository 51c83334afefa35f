package format

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filters are the values of --filter by key. "label!=x" has the key "label!".
// Different keys must all hold; of one key any value may, but for labels, which
// must all hold.
type Filters map[string][]string

// ParseFilters reads the arguments of --filter. known are the keys that the
// command understands.
func ParseFilters(args []string, known ...string) (Filters, error) {
	filters := Filters{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("invalid argument %q for \"--filter\" flag: bad format of filter (expected name=value)", arg)
		}
		key = strings.ToLower(strings.TrimSpace(key))
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("invalid filter '%s'", key)
		}
		filters[key] = append(filters[key], strings.TrimSpace(value))
	}
	return filters, nil
}

// Bool is the value of a key that is true or false; absent when it was not given.
func (f Filters) Bool(key string, absent bool) (bool, error) {
	values := f[key]
	if len(values) == 0 {
		return absent, nil
	}
	result, err := strconv.ParseBool(values[0])
	for _, v := range values[1:] {
		if again, e := strconv.ParseBool(v); e != nil || again != result {
			err = strconv.ErrSyntax
		}
	}
	if err != nil {
		return false, fmt.Errorf("invalid filter '%s=[%s]'", key, strings.Join(values, " "))
	}
	return result, nil
}

// Matches tells whether one of the key's values equals the text; true when the
// key was not given.
func (f Filters) Matches(key, text string) bool {
	values, given := f[key]
	return !given || slices.Contains(values, text)
}

// MatchesPattern is Matches with values that are regular expressions found
// anywhere in the text, as docker's name filter has them.
func (f Filters) MatchesPattern(key, text string) bool {
	values, given := f[key]
	if !given {
		return true
	}
	for _, v := range values {
		if v == text {
			return true
		}
		if re, err := regexp.Compile(v); err == nil && re.MatchString(text) {
			return true
		}
	}
	return false
}

// MatchesPrefix is Matches with values that are beginnings of the text, as for ids.
func (f Filters) MatchesPrefix(key, text string) bool {
	values, given := f[key]
	return !given || slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(text, v) })
}

// MatchesLabels applies label=key, label=key=value and their negations label!=….
func (f Filters) MatchesLabels(labels map[string]string) bool {
	for _, want := range f["label"] {
		if !hasLabel(labels, want) {
			return false
		}
	}
	for _, unwanted := range f["label!"] {
		if hasLabel(labels, unwanted) {
			return false
		}
	}
	return true
}

func hasLabel(labels map[string]string, want string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!withValue || got == value)
}

// MatchesReference applies the key "reference": a shell pattern over the short
// name ("debian") or name and tag ("debian:12").
func (f Filters) MatchesReference(repository, tag string) bool {
	patterns, given := f["reference"]
	if !given {
		return true
	}
	for _, p := range patterns {
		for _, name := range []string{repository, repository + ":" + tag} {
			if ok, err := path.Match(p, name); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// Keys are the keys that were given, sorted.
func (f Filters) Keys() []string { return slices.Sorted(maps.Keys(f)) }

// Time reads a point in time as --since, --until and the filter until take it:
// a duration before now ("10m"), seconds since 1970 with a fraction, or a date
// ("2026-11-23", "2026-11-23T10:00", RFC 3339) in the local zone.
func Time(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return now.Add(-d), nil
	}
	if t, ok := unixTime(value); ok {
		return t, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, value, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("invalid time %q: give a duration (10m), seconds since 1970 or a date (2006-01-02T15:04:05)", value)
}

func unixTime(value string) (time.Time, bool) {
	seconds, fraction, _ := strings.Cut(value, ".")
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	if fraction == "" {
		return time.Unix(s, 0), true
	}
	nanos, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(s, int64(nanos)), true
}
