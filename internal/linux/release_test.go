package linux

import "testing"

func TestParseRelease(t *testing.T) {
	for text, want := range map[string]Release{
		"6.18.44-cloud": {6, 18}, "5.10+": {5, 10}, "6.1.0-56-cloud-amd64": {6, 1}, "7.0": {7, 0},
	} {
		if got, err := ParseRelease(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "6", "6.", "x.1", "-1.2", "70000.1"} {
		if got, err := ParseRelease(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	old := Release{6, 1}
	if !old.Before(6, 5) || !old.Before(7, 0) || old.Before(6, 1) || old.Before(5, 19) {
		t.Error("wrong order")
	}
	if _, err := RunningRelease(); err != nil {
		t.Error(err)
	}
}
