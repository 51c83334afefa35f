package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/sandbox"
)

// stdio connects the descriptors of one process in the container (its first, or
// an exec) with whoever reads and writes them.
//
// Files and pipes of the user are handed over as they are when nobody else wants
// the output: binary-clean, no copy, no process between. A terminal is never
// handed over: whoever holds it can read the user's keys, and programs would
// behave as on a terminal that -t did not ask for.
type stdio struct {
	stdin, stdout, stderr *os.File // the process's ends; nil with a console
	console               *sandbox.Size

	handed []*os.File // ends to close once the process has them
	ours   []*os.File // the other ends of its outputs
	input  *os.File   // our end of stdin, nil when it was handed over
	pumps  []*pump
	feeds  []func(console *os.File)
	gate   *gate
	fed    atomic.Int32 // clients whose input is being passed on
}

// pump passes on what the process writes to one descriptor.
type pump struct {
	from   *os.File
	stream string
	gate   *gate
	busy   atomic.Bool   // has read something and not passed it on yet
	done   chan struct{} // closed at the end of from, or when nobody listens
}

// client is who is attached: files of its own, any of them nil.
type client struct {
	stdin, stdout, stderr *os.File
	gone                  func(error) // called when its output can no longer be written
	lost                  atomic.Pointer[error]
	// queue decouples a client that joined later: it never blocks the container.
	queue chan chunk
	mu    sync.Mutex // guards closing of the queue
	over  bool
	idle  chan struct{} // closed when the queue is written out
}

type chunk struct {
	to   *os.File
	data []byte
}

// queueLength of 32 kB chunks is what a slow client may lag behind, queueTime
// how long the container waits for it before it is let go.
const (
	queueLength = 64
	queueTime   = 2 * time.Second
)

// decouple starts the client's own writer; it ends with flush.
func (c *client) decouple() {
	c.queue, c.idle = make(chan chunk, queueLength), make(chan struct{})
	go func() {
		defer close(c.idle)
		for piece := range c.queue {
			if _, err := piece.to.Write(piece.data); err != nil {
				c.lose(err)
			}
		}
	}()
}

// lose notes why the client has not all of the output, for its Exited.
func (c *client) lose(err error) {
	c.lost.CompareAndSwap(nil, &err)
	if c.gone != nil {
		c.gone(err)
	}
}

// loss is that in words. A reader who went away knows it himself.
func (c *client) loss() string {
	err := c.lost.Load()
	if err == nil || errors.Is(*err, unix.EPIPE) {
		return ""
	}
	return (*err).Error()
}

// flush takes nothing more for the client and waits until all is written that
// came before, or until its reader has had its time.
func (c *client) flush() {
	if c.queue == nil {
		return
	}
	c.mu.Lock()
	if !c.over {
		c.over = true
		close(c.queue)
	}
	c.mu.Unlock()
	select {
	case <-c.idle:
	case <-time.After(queueTime):
	}
}

// close closes the client's files.
func (c *client) close() {
	for _, f := range []*os.File{c.stdin, c.stdout, c.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

func (c *client) write(to *os.File, data []byte) error {
	if c.queue == nil {
		_, err := to.Write(data)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return os.ErrClosed
	}
	piece := chunk{to, append([]byte(nil), data...)}
	select {
	case c.queue <- piece:
		return nil
	default:
	}
	select {
	case c.queue <- piece:
		return nil
	case <-time.After(queueTime):
		return errors.New("client reads too slowly")
	}
}

// sink takes a copy of the output: the log.
type sink interface {
	Write(stream string, data []byte)
}

// plan says how stdio is wanted.
type ioPlan struct {
	tty   bool
	size  *sandbox.Size
	stdin bool // -i
	log   sink // nil: none
	// keep: clients may attach later, so that no file is handed over.
	keep bool
	// relay: outputs are not handed over, so that a child which outlives the
	// process holds no file of the client.
	relay bool
	mute  bool // nobody ever reads: exec -d
	gate  *gate
}

// openStdio prepares the descriptors. c is the first client, which may have no
// files at all.
func openStdio(p ioPlan, c *client, out *outputs) (*stdio, error) {
	s := &stdio{gate: p.gate}
	if p.tty {
		s.console = &sandbox.Size{}
		if p.size != nil {
			*s.console = *p.size
		}
		s.feeds = append(s.feeds, func(console *os.File) {
			s.input = console
			s.pump(out, "stdout", console)
		})
		out.add(c)
		return s, nil
	}
	if err := s.openInput(p, c); err != nil {
		return s, err
	}
	var err error
	if s.stdout, err = s.openOutput(p, out, "stdout", c.stdout); err != nil {
		return s, err
	}
	if s.stderr, err = s.openOutput(p, out, "stderr", c.stderr); err != nil {
		return s, err
	}
	out.add(c)
	return s, nil
}

// openInput: without -i a process reads an empty file, as docker has it.
func (s *stdio) openInput(p ioPlan, c *client) error {
	switch {
	case !p.stdin:
		null, err := os.Open(os.DevNull)
		s.stdin = null
		s.handed = append(s.handed, null)
		return err
	case c.stdin != nil && !p.keep:
		s.stdin = c.stdin
		return checkFile(c.stdin, "standard input")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("create pipe: %w", err)
	}
	s.stdin, s.input, s.handed = r, w, append(s.handed, r)
	return nil
}

func (s *stdio) openOutput(p ioPlan, out *outputs, stream string, to *os.File) (*os.File, error) {
	if to == nil && p.mute {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		s.handed = append(s.handed, null)
		return null, err
	}
	direct := !p.keep && !p.relay && p.log == nil
	if direct && to != nil && !isTerminal(to) {
		out.hand(stream)
		return to, checkFile(to, "standard output")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create pipe: %w", err)
	}
	s.handed, s.ours = append(s.handed, w), append(s.ours, r)
	s.feeds = append(s.feeds, func(*os.File) { s.pump(out, stream, r) })
	return w, nil
}

// checkFile refuses a directory: as a descriptor of the process it would be a
// way out of the container's root (CVE-2024-21626).
func checkFile(f *os.File, what string) error {
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return errors.New(what + ": is a directory")
	}
	return nil
}

// serve starts copying; console is the terminal's master or nil.
func (s *stdio) serve(console *os.File) {
	s.closeHanded()
	for _, feed := range s.feeds {
		feed(console)
	}
}

func (s *stdio) closeHanded() {
	linux.CloseAll(s.handed)
	s.handed = nil
}

// discard closes the ends that were opened for a process that did not start.
func (s *stdio) discard() {
	s.closeHanded()
	linux.CloseAll(s.ours)
	if s.input != nil {
		s.input.Close()
	}
}

func (s *stdio) pump(out *outputs, stream string, from *os.File) {
	p := &pump{from: from, stream: stream, gate: s.gate, done: make(chan struct{})}
	s.pumps = append(s.pumps, p)
	go func() {
		defer close(p.done)
		for p.pass(out) {
		}
	}()
}

// pumped are buffers for what is passed on. Most programs are silent most of the time:
// who waits for one of them holds none.
var pumped = sync.Pool{New: func() any { return new([32 << 10]byte) }} // a pipe holds 64 kB: two reads empty it

// pass waits for output and passes on what there is; false: there will be no more.
func (p *pump) pass(out *outputs) bool {
	awaitInput(p.from)
	p.gate.enter()
	defer p.gate.leave()
	buffer := pumped.Get().(*[32 << 10]byte)
	defer pumped.Put(buffer)
	n, err := p.from.Read(buffer[:])
	if n > 0 {
		p.busy.Store(true)
		heard := out.write(p.stream, buffer[:n])
		p.busy.Store(false)
		if !heard {
			p.from.Close() // nobody is left: the program learns it by EPIPE
			return false
		}
	}
	// A terminal's master reads EIO when its last slave is closed.
	return err == nil
}

// awaitInput returns when a read has an answer, or at once where that cannot be told.
func awaitInput(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n != 0 || err != nil
	})
}

// feedInput passes a client's stdin on; the program sees its end unless others
// may still come.
func (s *stdio) feedInput(from *os.File, once bool) {
	if s.input == nil || from == nil {
		return
	}
	s.fed.Add(1)
	go func() {
		defer s.fed.Add(-1)
		_, _ = io.Copy(s.input, from)
		if once && s.console == nil {
			s.input.Close()
		}
	}()
}

// drain waits until all that the process wrote has been passed on: to the end of
// each pipe, or, when somebody who inherited it keeps it open (A118), until it has
// been empty for a moment. A reader may take all its time. Our ends are closed with
// it, not some time by the collector: those that a child writes to, when it ends.
func (s *stdio) drain() {
	for _, p := range s.pumps {
		p.drain()
		go func() {
			<-p.done
			p.from.Close()
		}()
	}
	if s.input != nil && s.console == nil {
		s.input.Close()
	}
}

// heardOut waits until nobody can write to the process's outputs any more.
func (s *stdio) heardOut() {
	for _, p := range s.pumps {
		<-p.done
	}
}

// emptyTime is how long nothing may come from a pipe that is held open, once its
// process has ended: what that wrote is in the pipe already.
const emptyTime = 20 * time.Millisecond

func (p *pump) drain() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for empty := time.Now(); time.Since(empty) < emptyTime; {
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
		if p.busy.Load() || waiting(p.from) > 0 {
			empty = time.Now()
		}
	}
}

// waiting counts the bytes that can be read.
func waiting(f *os.File) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// outputs passes what a process writes to the log and to the attached clients.
type outputs struct {
	mu      sync.Mutex
	log     sink
	clients []*client
	handed  map[string]bool // streams that the first client has itself
	// last: the process loses its output with its last client (a foreground
	// command whose reader went away), instead of running on unheard.
	last bool
}

func (o *outputs) hand(stream string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.handed == nil {
		o.handed = map[string]bool{}
	}
	o.handed[stream] = true
}

func (o *outputs) add(c *client) {
	if c == nil || c.stdout == nil && c.stderr == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clients = append(o.clients, c)
}

func (o *outputs) remove(c *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.clients {
		if o.clients[i] == c {
			o.clients = append(o.clients[:i:i], o.clients[i+1:]...)
			return
		}
	}
}

// leave lets the clients go; the process runs on unheard.
func (o *outputs) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clients, o.last = nil, false
}

// write passes data on and says whether anybody still listens.
func (o *outputs) write(stream string, data []byte) bool {
	o.mu.Lock()
	clients, log, last := o.clients, o.log, o.last
	o.mu.Unlock()
	if log != nil {
		log.Write(stream, data)
	}
	heard := false
	for _, c := range clients {
		to := c.stdout
		if stream == "stderr" {
			to = c.stderr
		}
		if to == nil {
			heard = true
			continue
		}
		if err := c.write(to, data); err != nil {
			o.remove(c)
			c.lose(err)
			continue
		}
		heard = true
	}
	return heard || !last
}
