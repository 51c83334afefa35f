package stack

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// flush sends the container all it may have: what was sent before and has to
// go again, then what the host socket holds, then our FIN.
func (c *conn) flush() {
	for budget := bytesPerTurn; ; {
		if c.resend() {
			continue
		}
		if c.eof {
			c.sendFin()
			break
		}
		if !c.readable {
			break
		}
		if budget <= 0 {
			c.later()
			break
		}
		n, more := c.fetch()
		if n == 0 && !more {
			break
		}
		budget -= n
	}
	c.wait()
}

// resend sends one segment of buffered bytes from nxt on, if there are any
// and the window lets them through.
func (c *conn) resend() bool {
	sent := int(c.nxt - c.una)
	n := min(c.flight.size-sent, int(c.wnd)-sent, c.maxPayload())
	if n <= 0 {
		return false
	}
	c.transmit(flagACK|flagPSH, c.nxt, sent, n)
	c.nxt += uint32(n)
	if after(c.nxt, c.max) {
		c.max = c.nxt
	}
	return true
}

// maxPayload is what goes in one write to the device: whole segments, in a
// packet below 64 KiB.
func (c *conn) maxPayload() int {
	const room = 1<<16 - 1 - ip6Len - tcpLen
	return room / int(c.mss) * int(c.mss)
}

// fetch reads from the host socket what fits into the container's window.
// more is false when there is nothing to do until something happens.
func (c *conn) fetch() (n int, more bool) {
	sent := int(c.nxt - c.una)
	room := min(int(c.wnd)-sent, maxFlight-c.flight.size, c.maxPayload())
	// A small gap in the window is not worth a packet while others are on
	// their way (silly window syndrome, RFC 9293 section 3.8.6.2).
	if room <= 0 || room < int(c.mss) && sent > 0 {
		return 0, false
	}
	first, second := c.flight.space(room, &c.s.chunks)
	want := len(first) + len(second)
	if want == 0 {
		if first != nil {
			c.flight.grow(0, &c.s.chunks)
		}
		return 0, false
	}
	n, errno := recv2(c.fd, first, second)
	c.flight.grow(n, &c.s.chunks)
	switch {
	case errno == unix.EINTR:
		return 0, true
	case errno == unix.EAGAIN:
		c.readable = false
		return 0, false
	case errno != 0:
		c.abort()
		return 0, false
	case n == 0:
		c.eof = true
		return 0, true
	}
	// Less than asked for: the socket is empty, and epoll tells when it is
	// not. After a hang-up it tells nothing more: read on to the end.
	c.readable = n == want || c.hup
	return n, true
}

// later puts the connection at the end of the queue for the next turn.
func (c *conn) later() {
	if !c.queued {
		c.queued = true
		c.s.again = append(c.s.again, c)
	}
}

// sendFin tells the container that the host has no more.
func (c *conn) sendFin() {
	if int(c.nxt-c.una) != c.flight.size || c.finSent && c.una == c.max {
		return // bytes before it are waiting, or it is on its way, or arrived
	}
	c.transmit(flagFIN|flagACK, c.nxt, 0, 0)
	c.nxt++
	c.max = c.nxt
	c.finSent = true
}

// wait arms the timer for what the connection waits for now.
func (c *conn) wait() {
	if c.state != established {
		return
	}
	stalled := c.una == c.max && (c.flight.size > 0 || c.readable && int(c.wnd) < int(c.mss))
	if c.rto == 0 && (c.una != c.max || stalled) {
		c.rto = c.s.now + int64(minRetransmit)
	}
	c.arm()
}

func (c *conn) arm() {
	at := c.heard + int64(idleProbe)
	if c.rto != 0 {
		at = min(at, c.rto)
	}
	if c.ackAt != 0 {
		at = min(at, c.ackAt)
	}
	c.s.timers.notAfter(&c.timer, max(at, c.s.now+1))
}

// expired is called when the timer fires, maybe too early.
func (c *conn) expired() {
	now := c.s.now
	if c.ackAt != 0 && now >= c.ackAt {
		c.transmit(flagACK, c.nxt, 0, 0)
	}
	switch {
	case c.rto != 0 && now >= c.rto:
		c.again()
	case c.rto == 0 && now >= c.heard+int64(idleProbe):
		c.rto = now
		c.again()
	}
	if c.state != closed {
		c.arm()
	}
}

// again repeats what got no answer: handshake, data, or a probe that any
// kernel answers with its window, or with a reset when it knows nothing.
func (c *conn) again() {
	c.retries++
	limit := maxRetries
	if c.state != established {
		limit = maxHandshake
	}
	if c.retries > limit {
		c.abort()
		return
	}
	c.rto = c.s.now + min(int64(minRetransmit)<<c.retries, int64(maxRetransmit))
	switch {
	case c.state != established:
		c.sendSyn()
	case c.una != c.max && c.wnd > 0:
		c.nxt = c.una
		c.recover = c.max
		c.flush()
	default:
		c.transmit(flagACK, c.una-1, 0, 0)
	}
}

// owe notes that the container is owed an acknowledgement. It goes out with
// the next data, or at the end of the turn.
func (c *conn) owe() {
	if !c.ackDue {
		c.ackDue = true
		c.s.acks = append(c.s.acks, c)
	}
}

// acknowledge sends the acknowledgements that no data took along.
func (s *Stack) acknowledge() {
	for i, c := range s.acks {
		s.acks[i] = nil
		if c.ackDue && c.state == established {
			c.transmit(flagACK, c.nxt, 0, 0)
		}
		c.ackDue = false
	}
	s.acks = s.acks[:0]
}

// settle sends an acknowledgement that is owed at once.
func (c *conn) settle() {
	if c.ackDue || c.ackAt != 0 {
		c.transmit(flagACK, c.nxt, 0, 0)
	}
}

// window is what we would announce now.
func (c *conn) window() uint32 {
	return uint32(max(maxBacklog-c.backlog.size, 0))
}

// announce returns the window field for a segment and notes its edge. The
// edge never moves back.
func (c *conn) announce(syn bool) uint16 {
	w := c.window()
	if edge := c.rcv + w; after(c.edge, edge) {
		w = c.edge - c.rcv
	}
	shift := ourScale
	if syn || c.scale == noScale {
		shift = 0
	}
	field := min(w>>shift, 0xffff)
	if edge := c.rcv + field<<shift; after(edge, c.edge) {
		c.edge = edge
	}
	return uint16(field)
}

// transmit sends one segment (or several that the device cuts apart): n bytes
// of flight from offset on. What precedes a SYN, or answers a connection that
// is none, carries what the flags need.
func (c *conn) transmit(flags byte, seq uint32, offset, n int) {
	s := c.s
	options := 0
	if flags&flagSYN != 0 {
		options = 8
	}
	transport := tcpLen + options
	h := s.head[vnetLen:]
	ip := putIP(h, c.key.remote, c.local, protoTCP, transport+n)
	t := h[ip : ip+transport]
	binary.BigEndian.PutUint16(t, c.key.rport)
	binary.BigEndian.PutUint16(t[2:], c.key.cport)
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], 0)
	if flags&flagACK != 0 {
		binary.BigEndian.PutUint32(t[8:], c.rcv)
		c.ackDue, c.ackAt = false, 0
	}
	c.talked = c.talked || n > 0
	t[12], t[13] = byte(transport/4)<<4, flags
	binary.BigEndian.PutUint16(t[14:], c.announce(flags&flagSYN != 0))
	binary.BigEndian.PutUint32(t[16:], 0)
	if options > 0 {
		c.putOptions(t[tcpLen:], flags)
	}
	binary.BigEndian.PutUint16(t[16:], fold(pseudo(c.key.remote, c.local, protoTCP)+uint32(transport+n)))
	mss := 0
	if n > int(c.mss) {
		mss = int(c.mss)
	}
	putVnet(s.head[:vnetLen], ip == ip6Len, ip, transport, 16, mss)
	s.begin()
	if n > 0 {
		s.iov = c.flight.gather(s.iov, offset, n)
	}
	s.emit(vnetLen + ip + transport)
}

// putOptions writes the options of a SYN: our segment size, and our window
// scale unless the container's SYN had none.
func (c *conn) putOptions(b []byte, flags byte) {
	b[0], b[1] = 2, 4
	binary.BigEndian.PutUint16(b[2:], uint16(c.s.mss(c.local)))
	b[4], b[5], b[6], b[7] = 1, 3, 3, ourScale
	if flags&flagACK != 0 && c.scale == noScale {
		b[4], b[5], b[6], b[7] = 1, 1, 1, 1
	}
}
