package engine

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"bryo/internal/state"
	"bryo/network/bridge"
)

// checkNetworks finds what serves a network for nobody, and holds its ports and
// namespaces; helpers that do not answer; and running containers that are cut off.
func (e *Engine) checkNetworks() (found []Finding, err error) {
	list, err := e.Containers()
	if err != nil {
		return nil, err
	}
	processes := e.networks().Processes()
	inUse := attached(list)
	found = e.checkIdle(processes, inUse)
	for name := range inUse {
		found = append(found, e.checkHelper(name, processes)...)
	}
	for _, c := range list {
		found = append(found, e.checkWires(c)...)
	}
	return found, nil
}

// attached are the networks that a container is on, or is about to be.
func attached(list []*Container) map[string]bool {
	names := map[string]bool{}
	for _, c := range list {
		if c.Broken == nil && (c.Status.Supervisor.Alive() || c.Creator.Alive()) {
			for _, n := range c.Host.Defined() {
				names[n.Name] = true
			}
		}
	}
	return names
}

// checkIdle finds helpers and keepers of networks without containers. They end when
// they are told to; one that does not hangs, with the published ports that it took over
// from a supervisor and the network's namespaces.
func (e *Engine) checkIdle(processes []bridge.Process, attached map[string]bool) (found []Finding) {
	var idle []bridge.Process
	told := map[string]error{}
	for _, p := range processes {
		if attached[p.Network] {
			continue
		}
		if _, ok := told[p.Network]; !ok {
			told[p.Network] = e.networks().Dismiss(p.Network)
		}
		if told[p.Network] == nil { // else a container starts
			idle = append(idle, p)
		}
	}
	for _, p := range bridge.AwaitGone(idle) {
		found = append(found, Finding{
			Object: fmt.Sprintf("process %d", p.PID), What: "serves network " + p.Network + ", which no container is attached to",
			Cure: "kill it", repair: func() error { return killNow(p.ProcessRef) },
		})
	}
	return found
}

// checkHelper finds a helper that hangs: what is attached to it reaches nothing. Its
// keeper starts another one, which the containers come back to.
func (e *Engine) checkHelper(name string, processes []bridge.Process) (found []Finding) {
	if !errors.Is(e.networks().Answers(name), os.ErrDeadlineExceeded) {
		return nil // or there is none, which its containers tell (checkWires)
	}
	for _, p := range processes {
		if p.Network == name && !p.Keeper {
			found = append(found, Finding{
				Object: fmt.Sprintf("process %d", p.PID), What: "serves network " + name + " and does not answer",
				Cure: "start another one", repair: func() error { return killNow(p.ProcessRef) },
			})
		}
	}
	return found
}

// checkWires finds what a running container lacks of its networks.
func (e *Engine) checkWires(c *Container) (found []Finding) {
	if c.Broken != nil || !c.Running() {
		return nil
	}
	for _, n := range c.Status.Networks {
		if n.Error == "" {
			continue
		}
		f := Finding{Object: "container " + c.Name, What: "cut off from network " + state.ShownNetwork(n.Name) + ": " + n.Error, Cure: "bryo restart " + c.Name}
		if (state.Network{Name: n.Name}).Defined() {
			f.Cure, f.repair = "start the network's helper", func() error { return e.rejoin(c.ID, n.Name) }
		}
		found = append(found, f)
	}
	if peer := c.Host.Peer(); peer != "" && e.strayed(c, peer) {
		found = append(found, Finding{
			Object: "container " + c.Name, What: "in a network namespace that container " + peer[:12] + " has left", Cure: "bryo restart " + c.Name,
		})
	}
	return found
}

// rejoinTime is how long supervisors take to notice that there is a helper again,
// and more.
const rejoinTime = 10 * time.Second

// rejoin starts a network's helper and waits until a container is back on it.
func (e *Engine) rejoin(id, name string) error {
	hold, err := bridge.Ensure(e.networks().Path(name))
	if err != nil {
		return err
	}
	defer hold.Release()
	for end := time.Now().Add(rejoinTime); ; time.Sleep(50 * time.Millisecond) {
		c := e.read(id)
		cut := ""
		if c.Broken == nil && c.Running() {
			for _, n := range c.Status.Networks {
				if n.Name == name {
					cut = n.Error
				}
			}
		}
		switch {
		case cut == "":
			return nil
		case time.Now().After(end):
			return errors.New(cut)
		}
	}
}

// strayed: the container that this one shares a namespace with has ended, or has a
// new one.
func (e *Engine) strayed(c *Container, peer string) bool {
	other := e.read(peer)
	if other.Broken != nil || !other.Running() {
		return true
	}
	own, err := netOf(c)
	theirs, failed := netOf(other)
	return err == nil && failed == nil && own != theirs
}

func netOf(c *Container) (string, error) {
	return os.Readlink("/proc/" + strconv.Itoa(c.Status.Init.PID) + "/ns/net")
}
