package events

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bryo/internal/linux"
)

// TestPromise: whoever is killed between the change and its event leaves it to the next
// one, who tells it once, and none that did not happen.
func TestPromise(t *testing.T) {
	root := t.TempDir()
	event := func(id string) Event {
		return Event{Type: Volume, Action: "destroy", Actor: Actor{ID: id, Attributes: map[string]string{"driver": "local"}}}
	}
	count := func() map[string]int {
		n := map[string]int{}
		_ = Read(context.Background(), root, Options{Since: time.Unix(1, 0), Until: time.Now()}, func(e *Event) error { n[e.Actor.ID]++; return nil })
		return n
	}
	happened := func(e *Event) bool { return e.Actor.ID != "there" }
	dir := filepath.Join(folder(root), promised)
	Promise(root, []Event{event("gone"), event("told"), event("there")}, happened)
	Keep(root, happened)
	if n := count(); len(n) != 0 {
		t.Errorf("told while its maker lives: %v", n)
	}
	Append(root, event("told"))
	kill(t, dir, time.Now().Add(-2*time.Second))
	for range 2 {
		Keep(root, happened)
	}
	if n := count(); n["gone"] != 1 || n["told"] != 1 || n["there"] != 0 {
		t.Errorf("told %v", n)
	}
	kill(t, dir, time.Now().Add(-2*patience))
	Keep(root, happened)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if n := count(); n["gone"] != 1 {
		t.Errorf("told again: %v", n)
	}
	Promise(root, []Event{event("well")}, happened)(nil)
	Promise(root, []Event{event("failed"), event("there")}, happened)(errors.New("killed"))
	if n := count(); n["well"] != 0 || n["failed"] != 1 || n["there"] != 0 {
		t.Errorf("told %v", n)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// kill makes the maker of each promise a process that is gone, and the promise of then.
func kill(t *testing.T, dir string, then time.Time) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		var p promise
		data, _ := os.ReadFile(path)
		if err := json.Unmarshal(data, &p); err != nil {
			t.Fatal(err)
		}
		p.Maker = linux.ProcessRef{PID: 1 << 30}
		p.At = then
		data, _ = json.Marshal(p)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
