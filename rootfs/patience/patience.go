// Package patience says how long the holder of a lock is waited for: as long as it
// gets on. One that was stopped, or whose registry hands out a byte now and then, is
// left behind, and the work is done twice.
package patience

import (
	"errors"
	"time"
)

// Step is how many bytes within the limit count as getting on.
const Step = 256 << 10

// ErrStuck: who has the lock does not get on.
var ErrStuck = errors.New("another process holds the lock and does not get on")

// Patience is that with one holder. nil never ends.
type Patience struct {
	progress func() int64
	limit    time.Duration

	last  int64
	since time.Time
}

// New begins to wait. progress says how many bytes the holder has got so far.
func New(progress func() int64, limit time.Duration) *Patience {
	return &Patience{progress: progress, limit: limit, last: progress(), since: time.Now()}
}

// IsOver is asked again and again while the lock is taken.
func (p *Patience) IsOver() bool {
	if p == nil {
		return false
	}
	if now := p.progress(); now-p.last >= Step || now < p.last {
		p.last, p.since = now, time.Now()
	}
	return time.Since(p.since) > p.limit
}
