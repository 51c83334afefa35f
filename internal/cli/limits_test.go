package cli

import (
	"strings"
	"testing"
	"time"

	"bryo/internal/engine"
	"bryo/internal/state"
)

func TestLimitValues(t *testing.T) {
	var l state.Limits
	for _, c := range []struct {
		name string
		read func(string) error
		good []string
		bad  []string
	}{
		{"cpus", nanoCPUs(&l.NanoCPUs), []string{"1", "0.5", "1.25"}, []string{"", "x", "0.00000000001", "1e30"}},
		{"memory", sizeOf(&l.Memory, false), []string{"64m", "1g", "1048576", "10MB"}, []string{"", "-1", "m", "1x"}},
		{"memory-swap", sizeOf(&l.MemorySwap, true), []string{"-1", "1g"}, []string{"-2", "x"}},
		{"cpuset", ranges(&l.CpusetCPUs), []string{"0", "0-3", "0,2-4"}, []string{"", "a", "3-1", "0/1", "0\n1", "1-"}},
		{"slice", slice(&l.Slice), []string{"user.slice", "a-b.slice"}, []string{"", "x", "/x.slice", "a b.slice", "../x.slice"}},
		{"weight", weight(&l.BlkioWeight), []string{"10", "1000"}, []string{"-1", "70000", "x"}},
	} {
		for _, text := range c.good {
			if err := c.read(text); err != nil {
				t.Errorf("%s %q: %v", c.name, text, err)
			}
		}
		for _, text := range c.bad {
			if c.read(text) == nil {
				t.Errorf("%s %q was accepted", c.name, text)
			}
		}
	}
	if l.NanoCPUs != 0 && l.Memory == 0 {
		t.Error("a value was not kept")
	}
}

func TestProcessorTimeIsADifference(t *testing.T) {
	w := &watcher{last: map[string]engine.Usage{}}
	start := time.Now()
	first := engine.Usage{At: start, CPU: time.Second}
	if busy := w.busy("a", &first); busy != 0 {
		t.Errorf("the first sample is %v%%", busy)
	}
	second := engine.Usage{At: start.Add(2 * time.Second), CPU: 4 * time.Second}
	if busy := w.busy("a", &second); busy != 150 {
		t.Errorf("three seconds in two are %v%%", busy)
	}
	restarted := engine.Usage{At: start.Add(3 * time.Second), CPU: time.Millisecond}
	if busy := w.busy("a", &restarted); busy != 0 {
		t.Errorf("after a restart %v%%", busy)
	}
}

func TestRedrawnLinesClearTheirRest(t *testing.T) {
	if got := string(overwriting([]byte("a\nb\n"))); got != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
}

func TestStoppedContainersHaveNoFigures(t *testing.T) {
	w := &watcher{last: map[string]engine.Usage{}}
	c := &engine.Container{Config: &state.Config{ID: strings.Repeat("a", 64), Name: "idle"}, Status: &state.Status{}}
	row := w.row(0, c, nil)
	if row["CPUPerc"] != "--" || row["MemUsage"] != "-- / --" || row["ID"] != "aaaaaaaaaaaa" {
		t.Errorf("row %v", row)
	}
}

func TestDiskRows(t *testing.T) {
	used := &engine.DiskUsage{LayersSize: 1000}
	used.Images = []engine.ImageUsage{{Containers: 1}, {}}
	used.Images[1].Unique = 250
	rows := diskRows(used)
	if rows[0]["Reclaimable"] != "250B (25%)" || rows[0]["Active"] != "1" || rows[1]["Reclaimable"] != "0B" {
		t.Errorf("rows %v", rows)
	}
	used.Images[0].Containers = 0
	if rows = diskRows(used); rows[0]["Reclaimable"] != "1kB (100%)" {
		t.Errorf("nothing uses them: %v", rows[0])
	}
	var out strings.Builder
	if err := diskLayout().Write(&out, "", false, rows); err != nil || !strings.HasPrefix(out.String(), "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n") {
		t.Errorf("table %q, %v", out.String(), err)
	}
}

func TestProxyPasswordsAreHidden(t *testing.T) {
	for in, want := range map[string]string{
		"http://user:secret@proxy:3128": "http://xxxxx:xxxxx@proxy:3128", "http://proxy:3128": "http://proxy:3128", "proxy": "proxy",
	} {
		if got := withoutPassword(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
