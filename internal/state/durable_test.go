package state

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPowerLoss: what a power loss leaves of a container: its name without content, for
// each of its files, synced or not.
func TestPowerLoss(t *testing.T) {
	empty := func(d Dir, id, file string) { _ = os.Truncate(filepath.Join(d.Path(id), file), 0) }
	for name, test := range map[string]struct {
		lose func(d Dir, id string)
		here bool
	}{
		"config":         {func(d Dir, id string) { empty(d, id, "config.json") }, false},
		"config, synced": {func(d Dir, id string) { d.Sync(id); empty(d, id, "config.json") }, true},
		"both": {func(d Dir, id string) {
			_ = d.WriteStatus(id, &Status{Phase: Running, Supervisor: gone})
			empty(d, id, "config.json")
			empty(d, id, "status.json")
		}, false},
		"status": {func(d Dir, id string) {
			_ = d.WriteStatus(id, &Status{Phase: Running, Supervisor: gone})
			empty(d, id, "status.json")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := Open(t.TempDir()), config("web")
			create(t, d, c)
			test.lose(d, c.ID)
			d.Sweep()
			_, err := d.Load(c.ID)
			if ids, _ := d.IDs(); test.here != (err == nil) || test.here != (len(ids) == 1) {
				t.Fatalf("%v, %v", ids, err)
			}
			if names, _ := d.Names(); test.here != (names[c.Name] == c.ID) {
				t.Errorf("names: %v", names)
			}
			s, err := d.Status(c.ID)
			if err != nil {
				t.Fatal(err)
			}
			if name == "status" && (s.Phase != Exited || s.ExitCode != killedCode || s.Error == "" || time.Since(s.Finished) > time.Minute) {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestDamageKeepsTheOthersVolumes: a container that nobody can read keeps its volumes
// from being pruned, and the user from none that he names.
func TestDamageKeepsTheOthersVolumes(t *testing.T) {
	d, c := Open(t.TempDir()), config("web")
	create(t, d, c)
	if err := os.WriteFile(filepath.Join(d.Path(c.ID), "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if users, err := d.VolumeUsers("any"); err != nil || len(users) != 1 {
		t.Errorf("prune: %v, %v", users, err)
	}
	if users, err := d.VolumeUsersKnown("any"); err != nil || len(users) != 0 {
		t.Errorf("named: %v, %v", users, err)
	}
	if err := d.WriteStatus(c.ID, &Status{Phase: Running, Supervisor: c.Creator}); err != nil {
		t.Fatal(err)
	}
	if users, err := d.VolumeUsersKnown("any"); err != nil || len(users) != 1 {
		t.Errorf("named, running: %v, %v", users, err)
	}
}
