package supervisor

import (
	"sync"
	"sync/atomic"
)

// gate is what all work comes through that is begun from outside: output, clients,
// signals. Each reader waits in front of it until there is something, passes, and has
// done with what it read when it leaves. Closed, nothing is read by anybody, and so
// nothing that was read is in a thread's hands: the process can execute another program
// (see rest.go). A nil gate is always open.
type gate struct {
	mu     sync.RWMutex
	passed atomic.Uint64
}

func (g *gate) enter() {
	if g != nil {
		g.mu.RLock()
		g.passed.Add(1)
	}
}

func (g *gate) leave() {
	if g != nil {
		g.mu.RUnlock()
	}
}

// close fails when somebody is inside: there is work.
func (g *gate) close() bool { return g.mu.TryLock() }

func (g *gate) open() { g.mu.Unlock() }
