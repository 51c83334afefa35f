package format

import (
	"testing"
	"time"
)

func TestParseFilters(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		err  string
	}{
		{"known", []string{"label=a", "label=b=c", "Dangling=true", "label!=x"}, ""},
		{"none", nil, ""},
		{"unknown", []string{"nope=1"}, "invalid filter 'nope'"},
		{"no value", []string{"label"}, `invalid argument "label" for "--filter" flag: bad format of filter (expected name=value)`},
		{"empty", []string{""}, `invalid argument "" for "--filter" flag: bad format of filter (expected name=value)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseFilters(c.args, "label", "label!", "dangling")
			if got := text(err); got != c.err {
				t.Errorf("got %q, want %q", got, c.err)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFilterMatching(t *testing.T) {
	f, err := ParseFilters([]string{"label=a", "label=k=v", "label!=bad", "name=^web", "name=db", "id=0123", "reference=deb*:12", "status=running", "dangling=1"},
		"label", "label!", "name", "id", "reference", "status", "dangling")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  bool
		want bool
	}{
		{"all labels", f.MatchesLabels(map[string]string{"a": "", "k": "v"}), true},
		{"a label missing", f.MatchesLabels(map[string]string{"k": "v"}), false},
		{"other value", f.MatchesLabels(map[string]string{"a": "", "k": "w"}), false},
		{"unwanted label", f.MatchesLabels(map[string]string{"a": "", "k": "v", "bad": "1"}), false},
		{"name by pattern", f.MatchesPattern("name", "web-1"), true},
		{"name by second value", f.MatchesPattern("name", "mydb"), true},
		{"other name", f.MatchesPattern("name", "my-web"), false},
		{"id", f.MatchesPrefix("id", "0123456"), true},
		{"other id", f.MatchesPrefix("id", "9"), false},
		{"reference", f.MatchesReference("debian", "12"), true},
		{"other tag", f.MatchesReference("debian", "11"), false},
		{"exact", f.Matches("status", "running"), true},
		{"other", f.Matches("status", "run"), false},
		{"not given", f.Matches("volume", "x"), true},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v", c.name, c.got)
		}
	}
	if dangling, err := f.Bool("dangling", false); !dangling || err != nil {
		t.Errorf("dangling = %v, %v", dangling, err)
	}
	if _, err := (Filters{"dangling": {"x"}}).Bool("dangling", false); text(err) != "invalid filter 'dangling=[x]'" {
		t.Errorf("error %v", err)
	}
	if _, err := (Filters{"dangling": {"1", "0"}}).Bool("dangling", false); err == nil {
		t.Error("true and false at once were taken")
	}
}

func TestTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	local := func(h, m int) time.Time { return time.Date(2026, 11, 20, h, m, 0, 0, time.Local) }
	for _, c := range []struct {
		value string
		want  time.Time
	}{
		{"10m", now.Add(-10 * time.Minute)},
		{"1h30m", now.Add(-90 * time.Minute)},
		{"1700000000", time.Unix(1700000000, 0)},
		{"1700000000.5", time.Unix(1700000000, 500_000_000)},
		{"1700000000.123456789", time.Unix(1700000000, 123456789)},
		{"2026-11-20", local(0, 0)},
		{"2026-11-20T10:30", local(10, 30)},
		{"2026-11-20T10:30:00", local(10, 30)},
		{"2026-11-20T10:30:00Z", time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)},
		{"2026-11-20T10:30:00.5+02:00", time.Date(2026, 11, 20, 8, 30, 0, 500_000_000, time.UTC)},
	} {
		got, err := Time(c.value, now)
		if err != nil || !got.Equal(c.want) {
			t.Errorf("%s: got %v, %v; want %v", c.value, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "yesterday", "2026-13-01", "1.x", "99999999999999999999"} {
		if got, err := Time(bad, now); err == nil {
			t.Errorf("%q: got %v", bad, got)
		}
	}
}
