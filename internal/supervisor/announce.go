package supervisor

import (
	"strconv"
	"time"
)

// announce records an event of the container in the journal. The caller does not
// hold the lock.
func (s *supervisor) announce(action string, pairs ...string) {
	s.mu.Lock()
	config := s.config
	s.mu.Unlock()
	if config != nil {
		s.containers.Announce(config, action, pairs...)
	}
}

// announceStart and announceEnd record one run of the program.
func (s *supervisor) announceStart() {
	s.containers.AnnounceVolumes(s.config, "mount")
	s.containers.AnnounceNetworks(s.config, "connect")
	if s.start.Foreground && s.status.Restarts == 0 {
		s.announce("attach")
	}
	s.announce("start")
}

func (s *supervisor) announceEnd(code int) {
	ran := max(0, time.Since(s.status.Started))
	if s.status.OOMKilled {
		s.announce("oom")
	}
	s.announce("die", "execDuration", strconv.Itoa(int(ran/time.Second)), "exitCode", strconv.Itoa(code))
	s.containers.AnnounceNetworks(s.config, "disconnect")
	s.containers.AnnounceVolumes(s.config, "unmount")
}
