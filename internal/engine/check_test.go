package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bryo/internal/linux"
	"bryo/internal/state"
)

// checked makes a data root with one created container and returns its engine.
func checked(t *testing.T) (*Engine, *state.Config) {
	t.Helper()
	e, err := New(Options{Root: filepath.Join(t.TempDir(), "root")})
	if err != nil {
		t.Fatal(err)
	}
	c := &state.Config{ID: state.NewID(), Name: "web", Created: time.Now()}
	if err := e.containers().Create(c); err != nil {
		t.Fatal(err)
	}
	return e, c
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, e *Engine, c *state.Config)
		want   string // in the one finding; empty: nothing is wrong
		heals  bool   // without a user namespace
	}{
		"nothing": {func(*testing.T, *Engine, *state.Config) {}, "", true},
		"ended without a word": {func(t *testing.T, e *Engine, c *state.Config) {
			_ = e.containers().WriteStatus(c.ID, &state.Status{Phase: state.Running, Supervisor: gone, Init: gone})
		}, "", true},
		"status torn": {func(t *testing.T, e *Engine, c *state.Config) {
			write(t, filepath.Join(e.containers().Path(c.ID), "status.json"), `{"phase":"run`)
		}, "container web: read status", true},
		"config torn": {func(t *testing.T, e *Engine, c *state.Config) {
			write(t, filepath.Join(e.containers().Path(c.ID), "config.json"), "\x00")
		}, "config.json", false},
		"name of nobody": {func(t *testing.T, e *Engine, c *state.Config) {
			_ = os.Symlink(state.NewID(), filepath.Join(e.Root, "names", "ghost"))
		}, "name ghost", true},
		"name lost": {func(t *testing.T, e *Engine, c *state.Config) {
			e.containers().Release("web", c.ID)
		}, "does not have its name web", true},
		"stranger's directory": {func(t *testing.T, e *Engine, c *state.Config) {
			_ = os.Mkdir(filepath.Join(e.Root, "containers", "mine"), 0o700)
		}, "directory containers/mine", false},
	} {
		t.Run(name, func(t *testing.T) {
			e, c := checked(t)
			test.damage(t, e, c)
			found, err := e.Check(CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if len(found) > 0 {
					t.Errorf("got %+v", found)
				}
				return
			}
			if len(found) != 1 || !strings.Contains(found[0].Object+": "+found[0].What, test.want) {
				t.Fatalf("got %+v", found)
			}
			if !test.heals {
				return
			}
			if found, err = e.Check(CheckOptions{Repair: true}); err != nil || len(found) != 1 || !found[0].Repaired {
				t.Fatalf("repair: %+v, %v", found, err)
			}
			if found, err = e.Check(CheckOptions{}); err != nil || len(found) != 0 {
				t.Errorf("after the repair: %+v, %v", found, err)
			}
		})
	}
}

// gone is a process that cannot be: pids end at 2^22.
var gone = linux.ProcessRef{PID: 1<<22 + 1, Start: 1, Boot: linux.BootID()}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
