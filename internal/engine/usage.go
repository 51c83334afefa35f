package engine

import (
	"fmt"
	"sync"
	"time"

	"bryo/internal/processes"
	"bryo/sandbox/cgroup"
)

// Processes lists what runs in a container.
func (e *Engine) Processes(c *Container) ([]processes.Process, error) {
	if !c.Running() {
		return nil, fmt.Errorf("container %s %w", c.Name, errNotRunning)
	}
	return processes.List(c.Status.Init.PID)
}

// Usage is what a container uses at one moment.
type Usage struct {
	At      time.Time
	CPU     time.Duration // so far
	Memory  uint64        // bytes
	Limit   uint64        // bytes: the container's, else the host's memory
	Tasks   int
	Read    uint64 // bytes from disk
	Written uint64
	Received,
	Sent uint64 // bytes
	// Exact: the kernel counted for the container's own control group. Otherwise
	// the figures are sums over its processes of this moment.
	Exact bool
}

// Sampling is one moment at which the use of several containers is read. Its methods
// may be called from several goroutines.
type Sampling struct {
	census func() (processes.Census, error)
}

// Sample begins one. /proc is gone through for the first container that needs it.
func Sample() *Sampling { return &Sampling{sync.OnceValues(processes.TakeCensus)} }

// Usage reads the counters of a running container, from its control group where it has
// one with the counters, else from its processes.
func (s *Sampling) Usage(c *Container) (Usage, error) {
	if !c.Running() {
		return Usage{}, fmt.Errorf("container %s %w", c.Name, errNotRunning)
	}
	first := c.Status.Init.PID
	u := Usage{At: time.Now(), Limit: processes.HostMemory()}
	if c.Status.Cgroup != "" && cgroup.Has(c.Status.Cgroup, "memory.current") {
		g, err := cgroup.Read(c.Status.Cgroup)
		if err != nil {
			return Usage{}, fmt.Errorf("read control group of container %s: %w", c.Name, err)
		}
		u.Exact, u.CPU, u.Memory, u.Tasks, u.Read, u.Written = true, g.CPU, g.Memory, g.Tasks, g.Read, g.Written
		if g.Limit > 0 && (u.Limit == 0 || g.Limit < u.Limit) {
			u.Limit = g.Limit
		}
		u.Received, u.Sent = processes.Network(first)
		if g.DiskKnown && u.Tasks > 0 {
			return u, nil
		}
	}
	census, err := s.census()
	if err != nil {
		return Usage{}, err
	}
	p, err := census.Used(first)
	switch {
	case err != nil:
		return Usage{}, fmt.Errorf("container %s: %w", c.Name, err)
	case u.Exact: // but for the counters that are not delegated
		u.Read, u.Written = max(u.Read, p.Read), max(u.Written, p.Written)
		u.Tasks = max(u.Tasks, p.Tasks)
		return u, nil
	}
	u.CPU, u.Memory, u.Tasks, u.Read, u.Written = p.CPU, p.Memory, p.Tasks, p.Read, p.Written
	u.Received, u.Sent = p.Received, p.Sent
	return u, nil
}
