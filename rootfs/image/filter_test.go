package image

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSummaries(t *testing.T) {
	f := newFixture(t)
	f.image("aaaa", "amd64", "docker.io/library/debian:12 docker.io/library/debian:latest", "")
	f.image("bbbb", "arm64", "quay.io/team/app:1", "")
	f.image("cccc", "amd64", "", "")
	tests := map[string]struct {
		filter string
		want   string
	}{
		"all":                {"", "aaaa bbbb cccc"},
		"dangling":           {"dangling=true", "cccc"},
		"not dangling":       {"dangling=false", "aaaa bbbb"},
		"label":              {"label=k", "aaaa bbbb cccc"},
		"label value":        {"label=k=v", "aaaa bbbb cccc"},
		"other value":        {"label=k=w", ""},
		"without label":      {"label!=k", ""},
		"reference":          {"reference=debian", "aaaa"},
		"reference and tag":  {"reference=deb*:12", "aaaa"},
		"reference with dom": {"reference=quay.io/*/app", "bbbb"},
		"either reference":   {"reference=debian reference=*/*/app:*", "aaaa bbbb"},
		"until":              {"until=2024-01-03", "aaaa bbbb cccc"},
		"until before":       {"until=2024-01-01", ""},
		"before":             {"before=debian", ""},
		"both":               {"reference=debian dangling=true", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			filter, err := ParseFilter(strings.Fields(test.filter))
			if err != nil {
				t.Fatal(err)
			}
			list, err := Summaries(f.root, filter)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, s := range list {
				got[s.ID[:4]] = true
			}
			for _, want := range strings.Fields(test.want) {
				if !got[want] {
					t.Errorf("%s is missing", want)
				}
			}
			if len(got) != len(strings.Fields(test.want)) {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
	for _, bad := range []string{"dangling=perhaps", "until=then", "nosuch=1", "label", "before=nosuch"} {
		filter, err := ParseFilter([]string{bad})
		if err == nil {
			_, err = Summaries(f.root, filter)
		}
		if err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func TestInspectAndHistory(t *testing.T) {
	f := newFixture(t)
	f.image("aaaa", "amd64", "docker.io/library/debian:12", "")
	inspect, err := InspectImage(f.root, "debian:12", "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(inspect.ID, "sha256:aaaa") || inspect.RepoTags[0] != "debian:12" || inspect.RepoDigests[0] != "debian@sha256:"+strings.Repeat("a", 64) ||
		inspect.Size != 2000 || !slices.Contains(inspect.Config.Env, "A=b") || inspect.GraphDriver.Data["LowerDir"] == "" {
		t.Errorf("%+v", inspect)
	}
	history, err := HistoryOf(f.root, "debian:12", "")
	if err != nil || len(history) != 3 { // a layer that the history does not speak of
		t.Fatal(history, err)
	}
	if history[0].ID != inspect.ID || history[2].CreatedBy != "RUN x" || history[2].Size != 1000 || history[1].Size != 0 {
		t.Errorf("%+v", history)
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "2024-01-02T03:04:05Z": time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
		"1700000000": time.Unix(1700000000, 0), "1700000000.5": time.Unix(1700000000, 5e8), "2024-01-02": time.Date(2024, 1, 2, 0, 0, 0, 0, time.Local),
	} {
		if got, err := ParseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
}
