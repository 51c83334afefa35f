package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bryo/internal/events"
	"bryo/internal/linux"
)

// gone is a process that cannot be: pids end at 2^22.
var gone = linux.ProcessRef{PID: 1<<22 + 1, Start: 1, Boot: "x"}

func config(name string) *Config {
	return &Config{ID: NewID(), Name: name, Creator: linux.RefProcess(os.Getpid())}
}

func TestEmptyName(t *testing.T) {
	if _, err := Open(t.TempDir()).Find(""); !errors.Is(err, ErrNoName) {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	d := Open(t.TempDir())
	a, b := config("web"), config("web")
	if err := d.Create(a); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(b); !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), a.ID) {
		t.Errorf("same name: %v", err)
	}
	if ids, _ := d.IDs(); len(ids) != 1 {
		t.Errorf("a refused container left a directory: %v", ids)
	}
	if marks, _ := os.ReadDir(d.ephemeral("")); len(marks) != 0 {
		t.Errorf("a marker is left: %v", marks)
	}
	for key, want := range map[string]string{"web": a.ID, a.ID: a.ID, a.ID[:3]: a.ID} {
		if id, err := d.Find(key); id != want || err != nil {
			t.Errorf("find %s: %s, %v", key, id, err)
		}
	}
	for _, key := range []string{"/", "..", "../containers", "we", "web/", a.ID + "0", "\x1b[2J", "-f"} {
		if id, err := d.Find(key); !errors.Is(err, ErrNotFound) {
			t.Errorf("find %q: %s, %v", key, id, err)
		}
	}
	if err := d.Rename(a, "site"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Find("web"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the old name still leads to it: %v", err)
	}
	b.Name = "web"
	if err := d.Create(b); err != nil {
		t.Errorf("the old name is not free: %v", err)
	}
}

func TestAmbiguousPrefix(t *testing.T) {
	d := Open(t.TempDir())
	a, b := config("aa"), config("bb")
	a.ID, b.ID = "12"+a.ID[2:], "12"+b.ID[2:]
	for _, c := range []*Config{a, b} {
		if err := d.Create(c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Find("12"); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("got %v", err)
	}
}

// TestAbandoned: every state that a killed maker can leave is swept, nothing that
// lives or is finished.
func TestAbandoned(t *testing.T) {
	for name, test := range map[string]struct {
		leave func(t *testing.T, d Dir, c *Config)
		swept bool
	}{
		"living maker":     {func(t *testing.T, d Dir, c *Config) { c.Host.Remove = true; create(t, d, c) }, false},
		"finished":         {func(t *testing.T, d Dir, c *Config) { c.Creator = gone; create(t, d, c) }, false},
		"--rm, maker gone": {func(t *testing.T, d Dir, c *Config) { c.Host.Remove, c.Creator = true, gone; create(t, d, c) }, true},
		"--rm, supervisor": {func(t *testing.T, d Dir, c *Config) {
			c.Host.Remove, c.Creator = true, gone
			create(t, d, c)
			_ = d.WriteStatus(c.ID, &Status{Phase: Running, Supervisor: linux.RefProcess(os.Getpid())})
		}, false},
		"--rm, all gone": {func(t *testing.T, d Dir, c *Config) {
			c.Host.Remove, c.Creator = true, gone
			create(t, d, c)
			_ = d.WriteStatus(c.ID, &Status{Phase: Running, Supervisor: gone, Init: gone})
		}, true},
		"before the name": {func(t *testing.T, d Dir, c *Config) {
			c.Host.Remove, c.Creator = true, gone
			create(t, d, c)
			d.Release(c.Name, c.ID)
		}, true},
		"before the config": {func(t *testing.T, d Dir, c *Config) {
			c.Host.Remove, c.Creator = true, gone
			create(t, d, c)
			os.Remove(filepath.Join(d.Path(c.ID), "config.json"))
		}, true},
		"before the directory": {func(t *testing.T, d Dir, c *Config) {
			c.Host.Remove, c.Creator = true, gone
			create(t, d, c)
			os.RemoveAll(d.Path(c.ID))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := Open(t.TempDir())
			c := config("web")
			test.leave(t, d, c)
			d.Sweep()
			ids, _ := d.IDs()
			marks, _ := os.ReadDir(d.ephemeral(""))
			if test.swept && len(ids)+len(marks) > 0 || !test.swept && len(ids) == 0 {
				t.Errorf("left: %v, %v", ids, marks)
			}
		})
	}
}

// TestDestroyIsToldOnce: wherever the removal was cut short, the sweep tells the end
// that nobody told, and no other.
func TestDestroyIsToldOnce(t *testing.T) {
	for name, leave := range map[string]func(d Dir, c *Config){
		"before the withdrawal": func(Dir, *Config) {},
		"withdrawn":             func(d Dir, c *Config) { _, _ = d.WithdrawLocked(c.ID, c.Name) },
		"told": func(d Dir, c *Config) {
			_, _ = d.WithdrawLocked(c.ID, c.Name)
			d.Announce(c, "destroy")
		},
		"between the names": func(d Dir, c *Config) {
			_, _ = d.WithdrawLocked(c.ID, c.Name)
			_ = os.Symlink(c.ID, filepath.Join(d.names(), c.Name))
		},
		"half deleted": func(d Dir, c *Config) {
			_, _ = d.WithdrawLocked(c.ID, c.Name)
			d.Announce(c, "destroy")
			os.Remove(filepath.Join(d.withdrawn(c.ID), "config.json"))
		},
		// The removal of an ordinary container has no marker beforehand.
		"rm, withdrawn": func(d Dir, c *Config) {
			os.Remove(d.ephemeral(c.ID))
			_, _ = d.WithdrawLocked(c.ID, c.Name)
		},
		"rm, told": func(d Dir, c *Config) {
			os.Remove(d.ephemeral(c.ID))
			_, _ = d.WithdrawLocked(c.ID, c.Name)
			d.AnnounceEnd(c)
		},
		"rm, half deleted": func(d Dir, c *Config) {
			os.Remove(d.ephemeral(c.ID))
			_, _ = d.WithdrawLocked(c.ID, c.Name)
			d.AnnounceEnd(c)
			os.Remove(filepath.Join(d.withdrawn(c.ID), "config.json"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := Open(t.TempDir()), config("web")
			c.Host.Remove, c.Creator = true, gone
			create(t, d, c)
			d.Announce(c, "create")
			leave(d, c)
			d.Sweep()
			d.Sweep()
			if n := destroyed(t, d, c); n != 1 {
				t.Errorf("told %d times", n)
			}
			if marks, _ := os.ReadDir(d.ephemeral("")); len(marks) > 0 {
				t.Errorf("left: %v", marks)
			}
			if names, _ := d.Names(); len(names) > 0 {
				t.Errorf("names: %v", names)
			}
		})
	}
}

// TestNeverAnnounced: a container whose maker was killed before it said so goes
// without a word too.
func TestNeverAnnounced(t *testing.T) {
	d, c := Open(t.TempDir()), config("web")
	c.Host.Remove, c.Creator, c.Created = true, gone, time.Now()
	create(t, d, c)
	d.Sweep()
	if n := destroyed(t, d, c); n != 0 {
		t.Errorf("told %d times", n)
	}
}

// TestReleaseTakesNoStranger: of many who free the name of a container that is gone
// none takes it from the one who has it since.
func TestReleaseTakesNoStranger(t *testing.T) {
	d, dead := Open(t.TempDir()), NewID()
	if err := os.MkdirAll(d.names(), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		_ = os.Symlink(dead, filepath.Join(d.names(), "web"))
		var takers sync.WaitGroup
		won := make(chan string, 8)
		for range cap(won) {
			takers.Go(func() {
				if c := config("web"); d.Create(c) == nil {
					won <- c.ID
				}
			})
		}
		takers.Wait()
		if len(won) != 1 {
			t.Fatalf("%d have the name", len(won))
		}
		if err := d.Delete(<-won, "web"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSweepLeavesTheWithdrawing: who withdraws and lives finishes himself.
func TestSweepLeavesTheWithdrawing(t *testing.T) {
	d, c := Open(t.TempDir()), config("web")
	c.Host.Remove, c.Creator = true, gone
	create(t, d, c)
	if _, err := d.Withdraw(c); err != nil {
		t.Fatal(err)
	}
	if list := d.Abandoned(); len(list) > 0 {
		t.Errorf("%s is called abandoned", list)
	}
	d.Sweep()
	if n := destroyed(t, d, c); n != 0 {
		t.Error("the sweep told it")
	}
	if err := d.Delete(c.ID, c.Name); err != nil {
		t.Fatal(err)
	}
}

// TestWithdrawnByAnother: of two that remove a container, the second one, who had to wait
// for the lock, is told that it is gone.
func TestWithdrawnByAnother(t *testing.T) {
	d, c := Open(t.TempDir()), config("web")
	create(t, d, c)
	if _, err := d.WithdrawLocked(c.ID, c.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WithdrawLocked(c.ID, c.Name); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func destroyed(t *testing.T, d Dir, c *Config) (n int) {
	t.Helper()
	o := events.Options{Since: time.Unix(1, 0), Until: time.Now()}
	err := events.Read(context.Background(), d.root, o, func(e *events.Event) error {
		if e.Action == "destroy" && e.Actor.ID == c.ID {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func create(t *testing.T, d Dir, c *Config) {
	t.Helper()
	if err := d.Create(c); err != nil {
		t.Fatal(err)
	}
}

// TestStatusOfTheDead: what is not alive has ended, whatever the file says.
func TestStatusOfTheDead(t *testing.T) {
	d, c := Open(t.TempDir()), config("web")
	create(t, d, c)
	me := linux.RefProcess(os.Getpid())
	reused := me
	reused.Start-- // the same pid, another process
	otherBoot := me
	otherBoot.Boot = "before"
	for name, test := range map[string]struct {
		supervisor linux.ProcessRef
		want       string
	}{"alive": {me, Running}, "gone": {gone, Exited}, "pid reused": {reused, Exited}, "before a reboot": {otherBoot, Exited}} {
		if err := d.WriteStatus(c.ID, &Status{Phase: Running, Supervisor: test.supervisor, Init: gone}); err != nil {
			t.Fatal(err)
		}
		if s, err := d.Status(c.ID); err != nil || s.Phase != test.want {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if err := reused.Kill(0); err == nil {
		t.Error("signalled a stranger")
	}
}

// FuzzConfig: a state file may hold anything; it is read or refused.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"id":"x","creator":{"pid":-1}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		d := Open(t.TempDir())
		id := strings.Repeat("ab", 32)
		os.MkdirAll(d.Path(id), 0o700)
		for _, name := range []string{"config.json", "status.json"} {
			os.WriteFile(filepath.Join(d.Path(id), name), content, 0o600)
		}
		if c, err := d.Load(id); err == nil && c.ID != id {
			t.Errorf("loaded %q", c.ID)
		}
		_, _ = d.Status(id)
		_ = d.Abandoned()
		_, _ = d.VolumeUsers("x")
	})
}

// TestDeleteTakesOneContainer: no id may stand for a directory above.
func TestDeleteTakesOneContainer(t *testing.T) {
	d := Open(t.TempDir())
	c := &Config{ID: NewID(), Name: "web"}
	if err := d.Create(c); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", ".", "..", "../containers", "../names"} {
		if err := d.Delete(id, ""); err == nil {
			t.Errorf("deleted %q", id)
		}
	}
	if _, err := d.Load(c.ID); err != nil {
		t.Error(err)
	}
}

// TestCutRename: whoever is killed at any step of a rename leaves a container
// with its name, and no name that nobody frees.
func TestCutRename(t *testing.T) {
	for _, test := range []struct {
		name            string
		config, linkNew bool // the config has the new name; the new link is there
		linkOld         bool
	}{
		{"said", false, false, true}, {"taken", false, true, true}, {"written", true, true, true}, {"released", true, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Open(t.TempDir())
			c := &Config{ID: NewID(), Name: "old", Renaming: "new"}
			if err := d.Create(c); err != nil {
				t.Fatal(err)
			}
			if test.config {
				c.Name, c.Renaming = "new", "old"
			}
			if err := d.Save(c); err != nil {
				t.Fatal(err)
			}
			if test.linkNew {
				os.Symlink(c.ID, filepath.Join(d.names(), "new"))
			}
			if !test.linkOld {
				os.Remove(filepath.Join(d.names(), "old"))
			}
			if id, err := d.Find(c.Name); id != c.ID {
				t.Fatalf("find %s: %v", c.Name, err)
			}
			other := &Config{ID: NewID(), Name: c.Name}
			if err := d.Create(other); !errors.Is(err, ErrNameTaken) {
				t.Errorf("its name was given away: %v", err)
			}
			other.Name = c.Renaming
			if err := d.Create(other); err != nil {
				t.Errorf("the second name stays taken: %v", err)
			}
			if err := d.Delete(c.ID, c.Name); err != nil {
				t.Fatal(err)
			}
			if names, _ := d.Names(); len(names) != 1 || names[other.Name] != other.ID {
				t.Errorf("names %v", names)
			}
		})
	}
}

// TestMark: a config that was replaced, by one of the same size too, is another one.
func TestMark(t *testing.T) {
	d, c := Open(t.TempDir()), config("web")
	create(t, d, c)
	before := d.Mark(c.ID)
	if before == (Mark{}) || before != d.Mark(c.ID) {
		t.Fatalf("mark of the same config: %v, %v", before, d.Mark(c.ID))
	}
	if err := writeJSON(filepath.Join(d.Path(c.ID), "config.json"), c); err != nil {
		t.Fatal(err)
	}
	if d.Mark(c.ID) == before {
		t.Error("a new config has the mark of the old one")
	}
	if d.Mark("none") != (Mark{}) {
		t.Error("what is not there has a mark")
	}
}
