package bridge

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bryo/internal/linux"
)

// Line is a supervisor's connection to the helper of one network, for as long as
// the container lives: between two runs of its program too, so that the helper
// stays. It runs in the container's supervisor.
type Line struct {
	dir string
	// changed is told that the line was cut (the error), and that it is whole again
	// or the place on the network is another one (nil).
	changed func(error)

	mu      sync.Mutex // held while a question waits for its answer
	conn    conn
	answers chan message // closed when the connection has ended; has room for one that comes too late
	place   *Place       // nil: not attached
	closed  chan struct{}
}

// Open connects to the network's helper, which the command line has started.
func Open(dir string, changed func(error)) (*Line, error) {
	l := &Line{dir: dir, changed: changed, closed: make(chan struct{})}
	if err := l.connect(); err != nil {
		return nil, fmt.Errorf("network %s: reach helper: %w", filepath.Base(dir), err)
	}
	return l, nil
}

// Close gives the place back and lets the helper go.
func (l *Line) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	l.conn.Close()
}

// connect is called with the lock held, or before anyone knows the line.
func (l *Line) connect() error {
	c, err := dial(l.dir)
	if err != nil {
		return err
	}
	l.conn, l.answers = c, make(chan message, 1)
	go l.read(c, l.answers)
	return nil
}

// read passes answers on. When the helper has ended it tries to come back.
func (l *Line) read(c conn, answers chan<- message) {
	for {
		m, files, err := c.receive()
		linux.CloseAll(files)
		if err != nil {
			break
		}
		answers <- m
	}
	close(answers)
	c.Close()
	l.mu.Lock()
	current := l.conn == c
	l.mu.Unlock()
	if current {
		l.restore()
	}
}

var errCut = errors.New("the network's helper has ended")

// ask is called with the lock held.
func (l *Line) ask(m message, files ...*os.File) (message, error) {
	if l.conn.UnixConn == nil { // cut, and not restored
		return m, errCut
	}
	if err := l.conn.send(m, files...); err != nil {
		return m, errCut
	}
	select {
	case answer, ok := <-l.answers:
		if !ok {
			return m, errCut
		}
		if answer.Failed != "" {
			return answer, errors.New(answer.Failed)
		}
		return answer, nil
	case <-time.After(patience):
		l.conn.Close()
		return m, errors.New("the network's helper does not answer")
	}
}

// Pauses between attempts to reach a helper that was killed: its keeper needs
// milliseconds, the next container on this network may take for ever.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 2 * time.Second
)

// restore connects again until it works or the line is closed.
func (l *Line) restore() {
	told := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		select {
		case <-l.closed:
			return
		default:
		}
		moved, err := l.reconnect()
		if err == nil {
			if told || moved {
				l.changed(nil)
			}
			return
		}
		if !told && pause > 64*firstPause {
			l.changed(err)
			told = true
		}
		select {
		case <-l.closed:
			return
		case <-time.After(pause):
		}
	}
}

// reconnect also tells whether the place has moved: somebody else may have come
// to the new helper first, and have got its address.
func (l *Line) reconnect() (moved bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed: // meanwhile: a new connection would keep the helper for ever
		return false, nil
	default:
	}
	if err := l.connect(); err != nil {
		return false, err
	}
	if l.place == nil {
		return false, nil
	}
	was := l.place.Addresses()
	if err := l.place.attach(); err != nil {
		l.conn.Close()
		l.conn = conn{} // its reader leaves it to us
		return false, err
	}
	return !slices.Equal(was, l.place.Addresses()), nil
}

// Rename tells the helper under which names the container is known now.
func (l *Line) Rename(r Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.place; p != nil {
		p.request.Name, p.request.Hostname, p.request.Aliases = r.Name, r.Hostname, r.Aliases
		p.request.Others, p.request.DNS = r.Others, r.DNS
	}
	_, err := l.ask(message{Names: &r})
	return err
}
