package supervisor

import (
	"time"

	"bryo/internal/state"
)

// backoff is docker's: 100 ms, doubled up to a minute, from the start again
// after a run of ten seconds.
type backoff struct{ delay time.Duration }

const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = time.Minute
	goodRun    = 10 * time.Second
)

func (b *backoff) next(ran time.Duration) time.Duration {
	switch {
	case b.delay == 0 || ran >= goodRun:
		b.delay = firstDelay
	default:
		b.delay = min(2*b.delay, lastDelay)
	}
	return b.delay
}

// wantsRestart applies the policy, read afresh: `update --restart` changes it.
func (s *supervisor) wantsRestart(code int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	policy := s.config.Host.Restart
	if s.stopped || s.config.Host.Remove {
		return false
	}
	switch policy.Name {
	case state.RestartAlways, state.RestartUnlessStopped:
		return true
	case state.RestartOnFailure:
		return code != 0 && (policy.Max == 0 || s.status.Restarts < policy.Max)
	}
	return false
}

// pauseBefore waits before a restart; false when the user stopped the container
// meanwhile.
func (s *supervisor) pauseBefore(delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case work := <-s.main:
			work()
		case <-s.halt:
			return false
		case <-timer.C:
			return true
		}
	}
}
