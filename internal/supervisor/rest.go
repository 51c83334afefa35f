package supervisor

import (
	"cmp"
	"fmt"
	"os"
	"sync"
	"time"

	"bryo/internal/logs"
	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/network"
)

// A supervisor whose container does nothing, and of which nobody wants anything, rests:
// package rest puts a program of one page in its place, in the same process, and the
// first event brings bryo back, which takes itself up again from a record (wake.go).
//
// It rests only in a state that a record can hold. In every other one it stays what it
// is: a client is connected, a process that exec started is alive, a connection is open,
// a health check runs, a network of the user's has a line
// to its helper.

// restAfter is how long nothing may have happened.
const restAfter = 5 * time.Second

// seekLater bounds how seldom one that could not rest looks again: once in a minute it
// may wake up for that.
const seekLater = time.Minute

// seekRest looks from time to time whether the supervisor can rest.
func (s *supervisor) seekRest(ready <-chan struct{}) {
	<-ready
	first := cmp.Or(s.start.Rest, restAfter)
	if first < 0 || !s.canEverRest() {
		return
	}
	small := sync.OnceFunc(settle)
	var before events
	s.onMain(func() { before = s.happened() })
	for wait := first; ; {
		select {
		case <-time.After(wait):
		case <-s.waiters.over:
			return
		}
		still := false
		s.onMain(func() {
			now := s.happened()
			if still = now == before; still {
				s.tryRest()
			}
			before = now
		})
		if wait = min(2*wait, seekLater); !still {
			wait = first
			continue
		}
		small() // it may stay like this for long
	}
}

// events counts what has happened so far. It is read on the main thread.
type events struct{ passed, connections, packets uint64 }

func (s *supervisor) happened() (e events) {
	e.passed, e.connections = s.gate.passed.Load(), s.publishedPorts().Begun()
	for _, p := range s.parkers() {
		e.packets += p.Packets()
	}
	return e
}

func (s *supervisor) parkers() (list []network.Parker) {
	for _, a := range s.wires.attached {
		if p, ok := a.Attachment.(network.Parker); ok {
			list = append(list, p)
		}
	}
	return list
}

// canEverRest: nothing of the container's configuration is in the way that stays so.
func (s *supervisor) canEverRest() bool {
	h := s.config.Host
	shared := h.PID != "" && h.PID != "private"
	inFiles := h.Log.Driver == logs.None || h.Log.InFiles() && h.Log.Driver != logs.Journald && !h.Log.NonBlocking
	return !shared && h.KeepID == nil && inFiles && s.bypassing() == 0
}

// tryRest does not return if the supervisor can rest now. It is the main thread's work:
// nothing else of that is under way.
func (s *supervisor) tryRest() {
	if !s.gate.close() {
		return
	}
	defer s.gate.open()
	if !s.quiet() {
		return
	}
	ports, idle := s.ports.Park()
	if !idle {
		return
	}
	defer s.ports.Unpark()
	r, watch, ok := s.describe(ports)
	if !ok {
		return
	}
	defer r.unpark()
	trace.Mark("rest")
	if err := r.begin(s.signals, watch); err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
	}
}

// quiet: nobody is there, and nothing is half done. The gate is closed, so this stays so.
func (s *supervisor) quiet() bool {
	if s.clients.Load()+s.execs.Load()+s.stdio.fed.Load() > 0 || s.killedBy.Load() != 0 || s.stopAsked.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Phase == state.Running && !s.stopped && s.health == nil && len(s.lost) == 0 && s.door != nil
}
