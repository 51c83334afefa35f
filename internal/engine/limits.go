package engine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"bryo/internal/hostinfo"
	"bryo/internal/state"
	"bryo/internal/supervisor"
	"bryo/sandbox/cgroup"
)

// LimitError: a limit that this host cannot hold a container to. It is never left
// out in silence.
type LimitError struct {
	Flag string
	Why  string
	Cure []string // commands, one after another
}

func (e *LimitError) Error() string { return "--" + e.Flag + " cannot be enforced here: " + e.Why }

// place says how a container gets a control group of its own, and which
// controllers it would have.
func place(slice string) (way cgroup.Way, controllers []string) {
	if !cgroup.Unified() {
		return cgroup.Way{}, nil
	}
	c := hostinfo.Cgroups()
	if c.Bus != "" && len(c.Controllers) > 0 {
		return cgroup.Way{Bus: c.Bus, UID: os.Geteuid(), Slice: slice}, c.Controllers
	}
	for _, group := range []string{c.Dir, path.Dir(c.Dir)} {
		if offers := cgroup.Offers(group); len(offers) > 0 {
			return cgroup.Way{Parent: group}, offers
		}
	}
	return cgroup.Way{}, nil
}

// checkLimits refuses what cannot be enforced, before anything is made.
func checkLimits(l *state.Limits) error {
	needs := l.Needs()
	if len(needs) == 0 && l.Slice == "" {
		return nil
	}
	way, controllers := place(l.Slice)
	if l.Slice != "" && way.Bus == "" {
		return &LimitError{Flag: "cgroup-parent", Why: "slices are systemd's, and there is no bus to it"}
	}
	return lacking(needs, controllers)
}

func lacking(needs []state.Need, controllers []string) error {
	for _, need := range needs {
		if !slices.Contains(controllers, need.Controller) {
			why, cure := hostinfo.NoLimits(need.Controller)
			return &LimitError{need.Flag, why, cure}
		}
	}
	return nil
}

// placeFor is what the supervisor is told. A container that asks for no limit
// gets a group too (a bound of its processes, exact figures, the word of the
// out-of-memory killer), unless that would end it at logout.
func placeFor(config *state.Config, foreground bool) (cgroup.Way, error) {
	l := &config.Host.Limits
	if err := checkLimits(l); err != nil {
		return cgroup.Way{}, err
	}
	way, _ := place(l.Slice)
	if len(l.Needs()) > 0 || l.Slice != "" || foreground || way.Bus == "" || hostinfo.ManagerStays() {
		return way, nil
	}
	return cgroup.Way{}, nil
}

// Update is what `update` changes.
type Update struct {
	Limits  func(*state.Limits) error // nil: none
	Restart *state.Restart
}

// Update changes a container, running or not.
func (e *Engine) Update(c *Container, u Update) error {
	config := *c.Config
	if u.Restart != nil {
		if config.Host.Remove && u.Restart.Name != "" {
			return errors.New("restart policy cannot be updated because --rm is enabled for the container")
		}
		config.Host.Restart = *u.Restart
	}
	if u.Limits != nil {
		if err := u.Limits(&config.Host.Limits); err != nil {
			return err
		}
		if err := e.checkUpdate(c, &config.Host.Limits); err != nil {
			return err
		}
	}
	release, err := e.containers().Lock(c.ID)
	if err != nil {
		return err
	}
	defer release()
	if err := e.containers().Save(&config); err != nil {
		return err
	}
	if !c.Running() && c.Status.Phase != state.Restarting {
		e.Announce(c, "update")
		return nil
	}
	if _, err := e.ask(c, supervisor.Message{Reload: true}); err != nil {
		return errors.Join(err, e.containers().Save(c.Config))
	}
	e.Announce(c, "update")
	return nil
}

// checkUpdate: a running container is held to what its own group can do.
func (e *Engine) checkUpdate(c *Container, l *state.Limits) error {
	if !c.Running() {
		return checkLimits(l)
	}
	if c.Status.Cgroup == "" {
		if needs := l.Needs(); len(needs) > 0 {
			if err := checkLimits(l); err != nil {
				return err
			}
			return fmt.Errorf("--%s: container %s was started without a control group of its own: stop and start it", needs[0].Flag, c.Name)
		}
		return nil
	}
	var has []string
	for controller, file := range controllerFiles {
		if cgroup.Has(c.Status.Cgroup, file) {
			has = append(has, controller)
		}
	}
	return lacking(l.Needs(), has)
}

var controllerFiles = map[string]string{"cpu": "cpu.max", "cpuset": "cpuset.cpus", "io": "io.max", "memory": "memory.max", "pids": "pids.max"}

// LimitNames are the controllers with which limits can be enforced here, for info.
func LimitNames() []string {
	_, controllers := place("")
	slices.Sort(controllers)
	return slices.Compact(controllers)
}

// CgroupDriver is systemd, cgroupfs or none, docker's words.
func CgroupDriver() string {
	switch way, _ := place(""); {
	case way.Bus != "":
		return "systemd"
	case way.Possible():
		return "cgroupfs"
	}
	return "none"
}

// CgroupVersion is "2" for a unified hierarchy, else "1", or "" without any.
func CgroupVersion() string {
	return strings.TrimPrefix(string(hostinfo.Cgroups().Mode), "v")
}
