package state

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/events"
)

// Bury records the end of a container whose supervisor was killed: the status as
// Status corrects it, and the event that the supervisor would have written. Who
// notices first does it; the others find it done. Nobody waits for it, and where
// nothing can be written nothing happens: what Status says is true without.
func (d Dir) Bury(id string) {
	release, err := d.lock(id, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return // another one is at it, or removes the container
	}
	defer release()
	d.BuryLocked(id)
}

// BuryLocked is Bury for who holds the container's lock.
func (d Dir) BuryLocked(id string) {
	raw, err := d.RawStatus(id)
	if err != nil || raw == nil || !raw.orphaned() {
		return
	}
	config, err := d.Load(id)
	if err != nil {
		return
	}
	// While it waited for its next run it was not running: that end is in the
	// journal already.
	ran := raw.Phase != Restarting
	end := d.told(id, raw.Started)
	raw.correct(end)
	if raw.Finished.IsZero() || raw.Finished.Before(raw.Started) {
		raw.Finished = time.Now().UTC()
	}
	// The events before the status, as a supervisor does: who is killed in between leaves
	// what the next one finds in the journal, and nothing untold.
	if ran {
		d.announceRun(config, raw, end)
	}
	_ = d.WriteStatus(id, raw)
}

// announceRun tells of a run what its supervisor did not.
func (d Dir) announceRun(config *Config, raw *Status, end ending) {
	if end.known && !end.started {
		d.Announce(config, "start")
	}
	if end.die == nil {
		seconds := int(max(0, raw.Finished.Sub(raw.Started)) / time.Second)
		d.Announce(config, "die", "execDuration", strconv.Itoa(seconds), "exitCode", strconv.Itoa(raw.ExitCode))
	}
	d.announceNetworks(config, "disconnect", end.left)
	d.announceVolumes(config, "unmount", end.unmounted)
}

// ending is what a supervisor had written of a run's end when it was killed: events
// come before the status.
type ending struct {
	known     bool // the journal goes back to before the run
	started   bool
	die       *events.Event
	left      map[string]bool // networks
	unmounted map[string]bool // volumes
}

// told reads the journal for the run that began at start.
func (d Dir) told(id string, start time.Time) (end ending) {
	end.left, end.unmounted = map[string]bool{}, map[string]bool{}
	o := events.Options{Since: time.Unix(1, 0), Until: time.Now(), Mentions: short(id)}
	_ = events.Read(context.Background(), d.root, o, func(e *events.Event) error {
		switch {
		case e.At().Before(start):
			end.known = true
		case e.Type == events.Container && e.Actor.ID == id && e.Action == "start":
			end.started = true
		case e.Type == events.Container && e.Actor.ID == id && e.Action == "die":
			end.die = e
		case e.Type == events.Volume && e.Actor.Attributes["container"] == id && e.Action == "unmount":
			end.unmounted[e.Actor.ID] = true
		case e.Type == events.Network && e.Actor.Attributes["container"] == id && e.Action == "disconnect":
			end.left[e.Actor.ID] = true
		}
		return nil
	})
	return end
}

// orphaned: recorded as alive, and neither supervisor nor program is.
func (s *Status) orphaned() bool {
	switch s.Phase {
	case Running, Paused, Restarting:
		return !s.Supervisor.Alive() && !s.Init.Alive()
	}
	return false
}

// killedCode stands for an exit code that nobody recorded: the program dies of
// SIGKILL with its supervisor.
const killedCode = 137

// correct makes the end of the run out of what the journal says; without, nobody knows.
func (s *Status) correct(end ending) {
	s.Phase = Exited
	if end.die != nil {
		if code, err := strconv.Atoi(end.die.Actor.Attributes["exitCode"]); err == nil {
			s.ExitCode, s.Finished = code, end.die.At().UTC()
			return
		}
	}
	s.ExitCode = killedCode
	if s.Error == "" {
		s.Error = "supervisor ended without recording the exit code"
	}
}
