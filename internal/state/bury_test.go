package state

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bryo/internal/events"
	"bryo/internal/linux"
	"bryo/rootfs/mount"
)

// A supervisor that is killed between its events and its status has told the end:
// it is not told again, and its exit code is the true one.
func TestEndIsToldOnce(t *testing.T) {
	d := Open(t.TempDir())
	c := &Config{ID: NewID(), Name: "web"}
	for _, name := range []string{"one", "two"} {
		c.Host.Mounts = append(c.Host.Mounts, mount.Mount{Type: mount.Volume, Source: name})
	}
	for _, name := range []string{"lan", "wan"} {
		c.Host.Networks = append(c.Host.Networks, Network{Name: name, ID: name})
	}
	c.Host.Networks = append(c.Host.Networks, Network{Name: NetworkDefault})
	if err := d.Create(c); err != nil {
		t.Fatal(err)
	}
	gone := linux.ProcessRef{PID: 1 << 30}
	told := func() (lines []string) {
		_ = events.Read(context.Background(), d.root, events.Options{Since: time.Unix(1, 0), Until: time.Now()}, func(e *events.Event) error {
			if e.Action == "die" || e.Action == "unmount" || e.Action == "disconnect" {
				lines = append(lines, strings.TrimSpace(fmt.Sprint(e.Action, " ", e.Actor.Attributes["exitCode"])))
			}
			return nil
		})
		return lines
	}
	d.Announce(c, "die", "exitCode", "3") // of the run before
	err := d.WriteStatus(c.ID, &Status{Phase: Running, Supervisor: gone, Init: gone, Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	d.Announce(c, "die", "exitCode", "7")
	d.announceNetworks(c, "disconnect", map[string]bool{"wan": true})
	d.announceVolumes(c, "unmount", map[string]bool{"two": true})
	if s, err := d.Status(c.ID); err != nil || s.Phase != Exited || s.ExitCode != 7 || s.Error != "" || s.Finished.Before(s.Started) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := d.Settled(c.ID); err != nil || s.Phase != Exited || s.ExitCode != 7 {
		t.Errorf("settled %+v, %v", s, err)
	}
	if s, err := d.RawStatus(c.ID); err != nil || s.Phase != Exited || s.ExitCode != 7 {
		t.Errorf("recorded %+v, %v", s, err)
	}
	if got, want := told(), []string{"die 3", "die 7", "disconnect", "disconnect", "unmount", "disconnect", "unmount"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// Who records the end and is killed, or fails, between event and status leaves an event
// that is not told again.
func TestBuryTellsFirst(t *testing.T) {
	d := Open(t.TempDir())
	c := &Config{ID: NewID(), Name: "web"}
	if err := d.Create(c); err != nil {
		t.Fatal(err)
	}
	gone := linux.ProcessRef{PID: 1 << 30}
	if err := d.WriteStatus(c.ID, &Status{Phase: Running, Supervisor: gone, Init: gone, Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	dies := func() (n int) {
		_ = events.Read(context.Background(), d.root, events.Options{Since: time.Unix(1, 0), Until: time.Now()}, func(e *events.Event) error {
			if e.Action == "die" {
				n++
			}
			return nil
		})
		return n
	}
	inTheWay := filepath.Join(d.Path(c.ID), "status.json.new")
	if err := os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d.Bury(c.ID); dies() != 1 {
			t.Fatal(dies(), "ends told")
		}
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	d.Bury(c.ID)
	if s, err := d.RawStatus(c.ID); err != nil || s.Phase != Exited || s.ExitCode != killedCode || dies() != 1 {
		t.Errorf("%+v, %v, %d ends told", s, err, dies())
	}
}
