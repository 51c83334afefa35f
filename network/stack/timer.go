package stack

// Times are nanoseconds of the monotonic clock, read once per turn of the
// loop.
type instant = int64

// A timer fires once, at or soon after its instant. It is part of what it
// wakes up, so that setting one allocates nothing.
type timer struct {
	at    instant
	place int // 1 + index in timers, 0 when not set
	owner interface{ expired() }
}

// timers is a binary heap, the earliest first.
type timers []*timer

// set arms t for the given instant, whatever it was before.
func (h *timers) set(t *timer, at instant) {
	if t.place == 0 {
		*h = append(*h, t)
		t.place = len(*h)
	}
	t.at = at
	h.up(t.place - 1)
	h.down(t.place - 1)
}

// notAfter arms t so that it fires at the given instant or before it: the
// cheap form for deadlines that mostly move on. Its owner looks again.
func (h *timers) notAfter(t *timer, at instant) {
	if t.place == 0 || at < t.at {
		h.set(t, at)
	}
}

func (h *timers) stop(t *timer) {
	if t.place == 0 {
		return
	}
	i, last := t.place-1, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
}

// fire wakes up the owners of all timers that are due.
func (h *timers) fire(now instant) {
	for len(*h) > 0 && (*h)[0].at <= now {
		t := (*h)[0]
		h.stop(t)
		t.owner.expired()
	}
}

func (h timers) up(i int) {
	for i > 0 && h[i].at < h[(i-1)/2].at {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h timers) down(i int) {
	for {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(h) && h[c].at < h[least].at {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}
