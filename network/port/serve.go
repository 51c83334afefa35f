package port

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Target is the network of a container that runs.
type Target struct {
	// Namespace is the container's network namespace; Serve does not keep it.
	Namespace *os.File
	// Enter runs a function on a thread in that namespace (network.OnNamespace).
	Enter func(func() error) error
	// Addresses are the container's, at most one per family. Gateways, of the same
	// families, stand for the host: a client on the host's loopback has that address.
	Addresses, Gateways []netip.Addr
	// Inbound takes over a connected socket for a port of the container, which sees
	// client as the other end: for namespaces in which sockets cannot be given that
	// address (a read-only /proc/sys, as in a container). nil: there is no such way.
	Inbound func(fd int, client netip.AddrPort, port uint16)
	// Datagrams takes over a copy of a bound socket for a port of the container;
	// nil: this network carries none.
	Datagrams func(fd int, port uint16) (stop func(), err error)
}

// serving is a set at work for one run of the container.
type serving struct {
	inside    *inside // nil: by through
	through   *through
	listeners []*net.TCPListener
	stops     []func() // of datagrams
	work      sync.WaitGroup

	live  atomic.Int32 // connections that were accepted and have not ended
	begun atomic.Uint64

	mu     sync.Mutex
	relays map[*relay]bool
	served int // since the last tidy
	over   bool
}

// Serve begins to connect clients, also those that wait already.
func (s *Set) Serve(t Target) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := &serving{relays: map[*relay]bool{}}
	s.serving = now
	var refused error
	for _, l := range s.list {
		if s.silent && l.mapping.Protocol != UDP {
			continue
		}
		if l.mapping.Protocol == UDP && t.Datagrams == nil {
			refused = fmt.Errorf("publish %s/udp: this network carries no datagrams from outside", l.mapping.Host())
			continue // the others are none the worse
		}
		if err := now.begin(l, t); err != nil {
			err = fmt.Errorf("publish %s/%s: %w", l.mapping.Host(), l.mapping.Protocol, err)
			if l.mapping.Protocol != UDP {
				s.pause()
				return err
			}
			refused = err
		}
	}
	return refused
}

func (now *serving) begin(l *listener, t Target) error {
	if l.mapping.Protocol == UDP {
		stop, err := datagrams(l, t)
		if err == nil {
			now.stops = append(now.stops, stop)
		}
		return err
	}
	if err := now.openWay(t); err != nil {
		return err
	}
	return now.listen(l)
}

func (now *serving) listen(l *listener) error {
	listener, err := duplicate(l.fd)
	if err != nil {
		return err
	}
	now.listeners = append(now.listeners, listener)
	now.work.Add(1)
	go now.accept(listener, l.mapping.Port)
	return nil
}

// openWay chooses how connections get in: spliced to sockets made inside, or
// through the user-mode stack, slower.
func (now *serving) openWay(t Target) (err error) {
	if now.inside != nil || now.through != nil {
		return nil
	}
	if now.inside, err = openInside(t); err != nil && t.Inbound != nil {
		now.through = &through{t}
		return nil
	}
	return err
}

func datagrams(l *listener, t Target) (stop func(), err error) {
	fd, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return t.Datagrams(fd, l.mapping.Port)
}

// duplicate makes a listener of Go's library that can be closed without the
// socket.
func duplicate(fd int) (*net.TCPListener, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	f := os.NewFile(uintptr(own), "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// accept takes clients until the listener is closed. Out of descriptors it waits
// for some to come back.
func (now *serving) accept(l *net.TCPListener, port uint16) {
	defer now.work.Done()
	for {
		client, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(10 * time.Millisecond)
			continue
		}
		now.live.Add(1) // before this goroutine can end, see Park
		now.begun.Add(1)
		go func() {
			defer now.live.Add(-1)
			now.connect(client, port)
		}()
	}
}

// connect joins a client to the container, or resets it, as the container's
// kernel would.
func (now *serving) connect(client *net.TCPConn, port uint16) {
	if now.through != nil {
		now.through.connect(client, port)
		return
	}
	server, err := now.inside.dial(client, port)
	if err != nil {
		_ = client.SetLinger(0)
		client.Close()
		return
	}
	r := &relay{client, server}
	if !now.enlist(r) {
		r.abort()
		return
	}
	r.run()
	now.mu.Lock()
	defer now.mu.Unlock()
	delete(now.relays, r)
	if now.served++; now.served >= tidyAfter && len(now.relays) == 0 {
		now.served = 0
		time.AfterFunc(time.Second, tidy)
	}
}

// tidyAfter so many connections, when none is left, the pipes go that io.Copy keeps
// for the next ones: Go's library lets go of them when the collector has run twice,
// which a process at rest seldom does.
const tidyAfter = 64

func tidy() {
	runtime.GC()
	runtime.GC()
}

func (now *serving) enlist(r *relay) bool {
	now.mu.Lock()
	defer now.mu.Unlock()
	if !now.over {
		now.relays[r] = true
	}
	return !now.over
}

// Pause ends all connections and keeps the ports: new clients wait.
func (s *Set) Pause() {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pause()
	}
}

func (s *Set) pause() {
	now := s.serving
	if now == nil {
		return
	}
	s.serving = nil
	for _, l := range now.listeners {
		l.Close()
	}
	for _, stop := range now.stops {
		stop()
	}
	now.work.Wait()
	now.mu.Lock()
	now.over = true
	for r := range now.relays {
		r.abort()
	}
	now.mu.Unlock()
	if now.inside != nil {
		now.inside.close()
	}
}

// relay is one connection: a client of the host and the container's end.
type relay struct{ client, server *net.TCPConn }

// Join passes bytes between two connections until both have ended, and closes them.
func Join(client, server *net.TCPConn) { (&relay{client, server}).run() }

// run passes bytes both ways until both have ended; an end is passed on alone, an
// error ends both. Between two TCP sockets io.Copy is splice(2).
func (r *relay) run() {
	back := make(chan error, 1)
	go func() { back <- forward(r.client, r.server) }()
	err := forward(r.server, r.client)
	if err != nil {
		r.abort()
	}
	if other := <-back; other != nil && err == nil {
		err = other
	}
	if err != nil {
		r.abort()
		return
	}
	r.client.Close()
	r.server.Close()
}

func forward(to, from *net.TCPConn) error {
	if _, err := to.ReadFrom(from); err != nil {
		// Both sockets are told, or the other direction waits for ever.
		_ = to.SetLinger(0)
		_ = from.SetLinger(0)
		to.Close()
		from.Close()
		return err
	}
	return ignoreGone(to.CloseWrite())
}

// ignoreGone: an end that cannot be passed on because the other side has gone
// already is none the worse.
func ignoreGone(err error) error {
	if errors.Is(err, unix.ENOTCONN) {
		return nil
	}
	return err
}

// abort resets both ends.
func (r *relay) abort() {
	for _, c := range []*net.TCPConn{r.client, r.server} {
		_ = c.SetLinger(0)
		c.Close()
	}
}
