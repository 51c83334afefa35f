package stack

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"bryo/network/dns"
)

const (
	dnsPort = 53

	// nextServer is how long the first resolver may think before the next is
	// asked as well, and queryTimeout when an answer is too late for any
	// client. glibc asks again after five seconds.
	nextServer   = 1500 * time.Millisecond
	queryTimeout = 10 * time.Second
)

// forwarder answers on port 53 of the gateway by asking the host's resolvers,
// those of the moment. Questions and answers pass as they are: it decides
// nothing but whom to ask. TCP to port 53 of the gateway is an ordinary
// connection to the first resolver (Stack.route).
type forwarder struct {
	s         *Stack
	resolvers func() []netip.AddrPort // at least one
	queries   map[question]*query
	oldest    []*query
}

// question tells questions in flight apart: where from, and its identifier.
type question struct {
	key key
	id  [2]byte
}

// A query is one question in flight.
type query struct {
	f       *forwarder
	name    question
	local   netip.Addr
	message []byte
	servers []netip.AddrPort // not asked yet
	tries   []*try
	refusal []byte // the answer of a server that would not or could not
	until   instant
	timer   timer
}

// A try is one server asked, over a socket of its own: an answer can only
// come from there.
type try struct {
	q  *query
	fd int
}

func newForwarder(s *Stack, path string) *forwarder {
	return &forwarder{s: s, resolvers: dns.HostResolvers(path), queries: map[question]*query{}}
}

func (f *forwarder) size() int { return len(f.queries) }

// current is the resolver for TCP.
func (f *forwarder) current() netip.AddrPort { return f.resolvers()[0] }

func (f *forwarder) closeAll() {
	for _, q := range f.queries {
		q.close()
	}
}

// ask takes a question from the container.
func (f *forwarder) ask(k key, local netip.Addr, message []byte) {
	if !dns.IsQuestion(message) {
		return
	}
	name := question{k, [2]byte(message)}
	if q := f.queries[name]; q != nil {
		q.repeat()
		return
	}
	f.makeRoom()
	q := &query{f: f, name: name, local: local, message: append([]byte(nil), message...),
		servers: f.resolvers(), until: f.s.now + int64(queryTimeout)}
	q.timer.owner = q
	f.queries[name] = q
	f.oldest = append(f.oldest, q)
	q.next()
}

// makeRoom ends the oldest query when there are too many.
func (f *forwarder) makeRoom() {
	for len(f.oldest) > 0 && (f.oldest[0].f == nil || len(f.queries) >= maxQueries) {
		f.oldest[0].close()
		f.oldest = f.oldest[1:]
	}
}

// next asks the next server; with none left, it passes on what there is.
func (q *query) next() {
	for len(q.servers) > 0 {
		to := q.servers[0]
		q.servers = q.servers[1:]
		fd, errno := datagramSocket(to, 0)
		if errno != 0 {
			continue
		}
		t := &try{q, fd}
		if q.f.s.watch(fd, t, unix.EPOLLIN) != nil {
			unix.Close(fd)
			continue
		}
		q.tries = append(q.tries, t)
		send(fd, q.message)
		q.f.s.timers.set(&q.timer, min(q.f.s.now+int64(nextServer), q.until))
		return
	}
	if len(q.tries) == 0 {
		q.giveUp()
		return
	}
	q.f.s.timers.set(&q.timer, q.until)
}

// repeat sends the question again to all that have not answered: the client
// thinks that it got lost.
func (q *query) repeat() {
	for _, t := range q.tries {
		send(t.fd, q.message)
	}
}

func (q *query) expired() {
	if q.f.s.now >= q.until {
		q.giveUp()
		return
	}
	q.next()
}

// giveUp passes on the best that was heard: a server's refusal, or a failure
// of our own making, which lets the client stop waiting.
func (q *query) giveUp() {
	if q.refusal == nil {
		q.refusal = dns.Failure(q.message)
	}
	q.answer(q.refusal)
}

func (q *query) answer(m []byte) {
	q.f.s.datagram(q.name.key, q.local, m)
	q.close()
}

func (q *query) close() {
	if q.f == nil {
		return
	}
	s := q.f.s
	for _, t := range q.tries {
		s.forget(t.fd)
	}
	s.timers.stop(&q.timer)
	delete(q.f.queries, q.name)
	q.f, q.tries, q.message, q.refusal = nil, nil, nil, nil
}

// ready takes an answer from a server.
func (t *try) ready(uint32) {
	q := t.q
	s := q.f.s
	n, errno := recv(t.fd, s.in[:])
	m := s.in[:n:n]
	switch {
	case errno == unix.EAGAIN:
		return
	case errno != 0: // nobody listens there, or it is out of reach
		t.close()
		q.next()
	case !dns.Answers(m, q.message):
		return
	case dns.Unwilling(m) && (len(q.servers) > 0 || len(q.tries) > 1):
		q.refusal = append([]byte(nil), m...)
		t.close()
		q.next()
	default:
		q.answer(m)
	}
}

// close ends one try; the query goes on.
func (t *try) close() {
	t.q.f.s.forget(t.fd)
	for i, other := range t.q.tries {
		if other == t {
			t.q.tries = append(t.q.tries[:i], t.q.tries[i+1:]...)
			break
		}
	}
}
