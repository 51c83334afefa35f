package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/rootfs/image"
)

// Health checks, docker's: the check runs in the container again and again, by
// the same rules as exec. Between two runs nothing of it wakes the supervisor.
//
//	starting ── success ──► healthy ◄── success ── unhealthy
//	    └─ retries failures in a row, after the start period ──►┘

// Docker's defaults.
const (
	healthInterval      = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthTimeout       = 30 * time.Second
	healthRetries       = 3

	healthLog    = 5    // runs that inspect shows
	healthOutput = 4096 // bytes of output kept of each
)

// Words of State.Health.Status.
const (
	starting  = "starting"
	healthy   = "healthy"
	unhealthy = "unhealthy"
)

// monitor runs the check of one run of the container's program.
type monitor struct {
	check   image.Healthcheck
	started time.Time
	stop    chan struct{}
	changed chan struct{} // closed and replaced when the status changes; guarded by the supervisor's lock
}

// checkOf is the container's check with docker's defaults; false: it has none.
func checkOf(c *state.Config) (image.Healthcheck, bool) {
	if c.Host.Health == nil || len(c.Host.Health.Test) < 2 {
		return image.Healthcheck{}, false // NONE, or nothing to run
	}
	check := *c.Host.Health
	check.Interval = orDefault(check.Interval, healthInterval)
	check.StartInterval = orDefault(check.StartInterval, healthStartInterval)
	check.Timeout = orDefault(check.Timeout, healthTimeout)
	if check.Retries <= 0 {
		check.Retries = healthRetries
	}
	return check, true
}

func orDefault(d, other time.Duration) time.Duration {
	if d <= 0 {
		return other
	}
	return d
}

// firstHealth is what is known when the program has just started.
func (s *supervisor) firstHealth() *state.Health {
	if _, ok := checkOf(s.config); !ok {
		return nil
	}
	return &state.Health{Status: starting, Log: []state.HealthProbe{}}
}

func (s *supervisor) startHealth() {
	check, ok := checkOf(s.config)
	if !ok {
		return
	}
	m := &monitor{check: check, started: s.status.Started, stop: make(chan struct{}), changed: make(chan struct{})}
	s.mu.Lock()
	s.health = m
	s.mu.Unlock()
	go s.watchHealth(m)
}

// endHealth: what does not run is not healthy, docker says.
func (s *supervisor) endHealth() {
	s.mu.Lock()
	m := s.health
	s.health = nil
	if m != nil {
		close(m.stop)
		close(m.changed)
		health := *s.status.Health
		health.Status = unhealthy
		s.status.Health = &health // written with the end
	}
	s.mu.Unlock()
}

func (s *supervisor) watchHealth(m *monitor) {
	for {
		s.mu.Lock()
		pause := m.pause(s.status.Health.Status, time.Now())
		s.mu.Unlock()
		select {
		case <-m.stop:
			return
		case <-time.After(pause):
		}
		if s.paused() {
			continue // its processes stand still, and so would the check
		}
		s.record(m, s.probe(m))
	}
}

// pause until the next run: shorter while the container starts.
func (m *monitor) pause(status string, now time.Time) time.Duration {
	if status == starting && now.Sub(m.started) < m.check.StartPeriod {
		return m.check.StartInterval
	}
	return m.check.Interval
}

// probe runs the check once, and tells it as an exec of its own.
func (s *supervisor) probe(m *monitor) state.HealthProbe {
	probe := state.HealthProbe{Start: time.Now().UTC()}
	output := &tailless{limit: healthOutput}
	run := &execution{id: state.NewID(), client: &client{}}
	run.outputs.log = output
	args := s.probeArgs(m.check.Test)
	words := shownWords(args)
	s.announce("exec_create: "+words, "execID", run.id)
	err := s.begin(run, Exec{Args: args})
	if err != nil {
		probe.End, probe.ExitCode = time.Now().UTC(), -1
		probe.Output = err.Error()
		return probe
	}
	s.announce("exec_start: "+words, "execID", run.id)
	code, late := s.awaitProbe(run, m.check.Timeout)
	probe.ExitCode, probe.Output = code, output.String()
	if late {
		probe.ExitCode = -1
		probe.Output = strings.TrimSuffix(fmt.Sprintf("Health check exceeded timeout (%s): %s", m.check.Timeout, probe.Output), ": ")
	}
	probe.End = time.Now().UTC()
	s.announce("exec_die", "execID", run.id, "exitCode", strconv.Itoa(code))
	run.leave()
	return probe
}

// awaitProbe returns the check's exit code. late: it had to be ended, with its children.
func (s *supervisor) awaitProbe(run *execution, patience time.Duration) (code int, late bool) {
	ended := make(chan int, 1)
	go func() { ended <- run.wait() }()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case code = <-ended:
		return code, false
	case <-timeout.C:
		_ = linux.KillSession(run.process.PID(), s.first())
		return <-ended, true
	}
}

// probeArgs is the command line of the check.
func (s *supervisor) probeArgs(test []string) []string {
	if test[0] != "CMD-SHELL" {
		return test[1:]
	}
	shell := s.config.Image.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), test[1])
}

// record applies one result, unless the container ended meanwhile: that says nothing
// about it.
func (s *supervisor) record(m *monitor, probe state.HealthProbe) {
	s.mu.Lock()
	if s.health != m {
		s.mu.Unlock()
		return
	}
	before := s.status.Health.Status
	health := m.judge(*s.status.Health, probe)
	s.status.Health = &health
	if health.Status != before {
		close(m.changed)
		m.changed = make(chan struct{})
	}
	s.mu.Unlock()
	s.writeStatus()
	if health.Status != before {
		s.announce("health_status: " + health.Status)
	}
}

// judge is docker's state machine: one success makes healthy, a number of
// failures in a row unhealthy; those of the start period do not count.
func (m *monitor) judge(h state.Health, probe state.HealthProbe) state.Health {
	h.Log = append(slices.Clone(h.Log), probe)
	h.Log = h.Log[max(0, len(h.Log)-healthLog):]
	switch {
	case probe.ExitCode == 0:
		h.Status, h.FailingStreak = healthy, 0
	case h.Status == starting && probe.Start.Sub(m.started) < m.check.StartPeriod:
	default:
		h.FailingStreak++
		if h.FailingStreak >= m.check.Retries {
			h.Status = unhealthy
		}
	}
	return h
}

// waitHealthy answers when the container is healthy, or when it can no longer be.
func (c *session) waitHealthy() {
	for {
		c.mu.Lock()
		m, status := c.supervisor.health, ""
		if c.status.Health != nil {
			status = c.status.Health.Status
		}
		var changed chan struct{}
		if m != nil {
			changed = m.changed
		}
		c.mu.Unlock()
		switch {
		case m == nil:
			_, has := checkOf(c.config)
			err := errors.New("container ended before it was healthy")
			if !has {
				err = errors.New("container has no health check")
			}
			_ = c.control.Send(Message{Failed: failure(err)})
			return
		case status == healthy:
			_ = c.control.Send(Message{Done: true})
			return
		}
		<-changed
	}
}

// tailless keeps the begin of what is written.
type tailless struct {
	mu    sync.Mutex
	limit int
	data  []byte
}

func (t *tailless) Write(_ string, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, data[:min(len(data), t.limit-len(t.data))]...)
}

func (t *tailless) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}
