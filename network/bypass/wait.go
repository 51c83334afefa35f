package bypass

import (
	"time"

	"golang.org/x/sys/unix"
)

// wait is a call that cannot be answered yet: a blocking connect under way, a
// send into a full buffer. It keeps the socket, not the caller's process.
type wait struct {
	call    *pending
	socket  *socket
	try     func(*wait) bool // true: answered
	until   time.Time        // zero: no limit
	timeout unix.Errno
}

const (
	// maxWaits bounds the descriptors that a container can make us keep by killing
	// callers whose connects lead nowhere; each is looked after once a second.
	maxWaits = 512
	// maxHeld bounds what their messages take of our memory, which the container's
	// limit does not count.
	maxHeld = 32 << 20
)

const sweepTime = time.Second

// waitFor answers later: when the socket has the events, try is asked; after limit
// the call fails with timeout.
func (h *Handler) waitFor(p *pending, s *socket, events uint32, limit time.Duration, timeout unix.Errno, try func(*wait) bool) {
	if h.crowded(p) {
		p.fail(unix.EAGAIN)
		return
	}
	w := &wait{call: p, socket: s, try: try, timeout: timeout}
	if limit > 0 {
		w.until = time.Now().Add(limit)
	}
	if err := h.watch(s.fd, events); err != nil {
		p.fail(err)
		return
	}
	p.kept = true
	h.waits[s.fd] = w
}

// crowded: as many calls are kept as a container may have, or as much of its data.
func (h *Handler) crowded(p *pending) bool {
	held := p.copied
	for _, w := range h.waits {
		held += w.call.copied
	}
	for _, j := range h.busy {
		held += j.copied
	}
	return len(h.waits)+len(h.busy) >= maxWaits || held > maxHeld
}

// keepOrClose closes a socket that neither a wait nor a job has taken.
func (p *pending) keepOrClose(s *socket) {
	if !p.kept {
		s.close()
	}
}

// resume asks again when the socket is ready.
func (h *Handler) resume(w *wait) {
	if w.try(w) {
		h.drop(w)
	}
}

// drop ends the keeping.
func (h *Handler) drop(w *wait) {
	h.unwatch(w.socket.fd)
	delete(h.waits, w.socket.fd)
	w.socket.close()
}

// patience is how long the poller may wait, in milliseconds.
func (h *Handler) patience() int {
	if len(h.waits) == 0 {
		return -1
	}
	next := sweepTime
	for _, w := range h.waits {
		if !w.until.IsZero() {
			next = min(next, time.Until(w.until))
		}
	}
	return int(max(next, 0)/time.Millisecond) + 1
}

// sweep lets go of what nobody waits for any more, and of what took too long. A
// caller that was interrupted finds his connection under way when he calls again.
func (h *Handler) sweep() {
	now := time.Now()
	look := now.Sub(h.swept) >= sweepTime
	if look {
		h.swept = now
	}
	for _, w := range h.waits {
		switch {
		case !w.until.IsZero() && now.After(w.until):
			w.call.finish(0, w.timeout)
			h.drop(w)
		case look && w.call.valid() != nil:
			h.drop(w)
		}
	}
}
