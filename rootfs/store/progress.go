package store

import (
	"sync"
	"time"
)

// State is how far a layer is.
type State int

// The states of a layer, in order. Present means: it was in the store already.
const (
	Waiting State = iota
	Fetching
	Syncing // unpacked, waiting for the layers below
	Done
	Present
)

// Event tells how far a layer of an import is.
type Event struct {
	Layer   string // digest as fetched, sha256:...
	Index   int    // from the bottom
	Layers  int    // how many the image has
	State   State
	Current int64 // bytes fetched
	Total   int64 // bytes to fetch
}

// meterLayer reports one layer: at most every 50 ms, and at each change of state.
type meterLayer struct {
	report func(Event) // nil: nobody asks
	mutex  sync.Mutex
	event  Event
	last   time.Time
}

func (m *meterLayer) state(state State) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.event.State = state
	if m.report != nil {
		m.report(m.event)
	}
}

func (m *meterLayer) add(n int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.event.Current += int64(n)
	if m.report != nil && time.Since(m.last) > 50*time.Millisecond {
		m.last = time.Now()
		m.report(m.event)
	}
}
