package stack

import "golang.org/x/sys/unix"

// segment handles one segment of a known connection, in the order of
// RFC 9293 section 3.10.7.
func (c *conn) segment(p *packet, h *tcpHeader) {
	switch c.state {
	case dialing:
		// Its SYN again, or a new one after it gave up: the latest counts.
		if h.flags&flagRST != 0 {
			c.cut()
		} else if h.flags&flagSYN != 0 {
			c.synchronize(h)
		}
		return
	case synSent:
		if !c.answered(p, h) {
			return
		}
	}
	if h.flags&flagRST != 0 {
		if h.seq == c.rcv || after(h.seq, c.rcv) && !after(h.seq, c.edge) {
			c.cut()
		}
		return
	}
	if h.flags&flagSYN != 0 && c.state != synSent {
		c.resynchronize(h)
		return
	}
	if h.flags&flagACK == 0 {
		return
	}
	if c.state != established && !c.complete(p, h) {
		return
	}
	c.acknowledged(h)
	if c.state == established && (len(h.data) > 0 || h.flags&flagFIN != 0) {
		c.receive(h)
	}
	if c.state == established {
		c.flush()
	}
}

// answered handles the container's answer to our SYN.
func (c *conn) answered(p *packet, h *tcpHeader) bool {
	switch {
	case h.flags&flagACK != 0 && h.ack != c.nxt:
		c.s.reset(p, h)
		return false
	case h.flags&flagRST != 0:
		if h.flags&flagACK != 0 {
			c.cut() // refused
		}
		return false
	case h.flags&(flagSYN|flagACK) != flagSYN|flagACK:
		return false
	}
	c.synchronize(h)
	c.ackDue = false
	c.owe()
	return true
}

// resynchronize answers a SYN within a connection: our SYN-ACK again when it
// got lost, else a challenge (RFC 5961 section 4), which makes a container
// that knows nothing of the connection reset it.
func (c *conn) resynchronize(h *tcpHeader) {
	if c.state == synReceived && h.seq+1 == c.rcv {
		c.sendSyn()
		return
	}
	c.transmit(flagACK, c.nxt, 0, 0)
}

// complete takes the acknowledgement that ends a handshake.
func (c *conn) complete(p *packet, h *tcpHeader) bool {
	if h.ack != c.nxt {
		if c.state == synReceived {
			c.s.reset(p, h)
		}
		return false
	}
	c.state = established
	c.una, c.retries, c.rto = c.nxt, 0, 0
	c.recover = c.una
	c.talked = true // whoever opens a connection asks first, as a rule
	return true
}

// acknowledged frees what the container has got and notes its window.
func (c *conn) acknowledged(h *tcpHeader) {
	if after(h.ack, c.max) {
		c.owe()
		return
	}
	window := uint32(h.window)
	if c.scale != noScale && h.flags&flagSYN == 0 {
		window <<= c.scale
	}
	switch {
	case after(h.ack, c.una):
		c.advance(h.ack)
	case h.ack == c.una && len(h.data) == 0 && h.flags&flagFIN == 0 && window == c.wnd && c.una != c.max:
		c.duplicate()
	}
	if !after(c.una, h.ack) {
		c.wnd = window
	}
	if c.una == c.max {
		c.retries, c.rto = 0, 0 // an answer to a probe, if there was one
	}
}

func (c *conn) advance(ack uint32) {
	n := int(ack - c.una)
	if c.finSent && ack == c.max {
		n-- // our FIN is not in the buffer
	}
	c.flight.drop(n, &c.s.chunks)
	c.una = ack
	if after(c.una, c.nxt) {
		c.nxt = c.una
	}
	c.dups, c.retries, c.rto = 0, 0, 0
	if c.una != c.max {
		c.rto = c.s.now + int64(minRetransmit)
		c.arm()
	}
	c.finish()
}

// duplicate counts acknowledgements that say that something is missing; after
// the third everything from there is sent again (RFC 5681 section 3.2, go-
// back-N instead of a congestion window: the link only loses when the
// container's kernel ran out of buffers).
func (c *conn) duplicate() {
	c.dups++
	if c.dups == 3 && !after(c.recover, c.una) {
		c.recover = c.max
		c.nxt = c.una
	}
}

// receive takes the data of a segment.
func (c *conn) receive(h *tcpHeader) {
	data, fin := h.data, h.flags&flagFIN != 0
	c.owe()
	if c.dialogue(h) {
		c.ackDue, c.ackAt = false, c.s.now+int64(ackDelay)
		c.arm()
	}
	c.talked = false
	if skip := c.rcv - h.seq; int32(skip) < 0 {
		return // a hole: the duplicate acknowledgement makes it come again
	} else if int(skip) > len(data) || c.fin {
		return // seen already
	} else {
		data = data[skip:]
	}
	if n := int(int32(c.edge - c.rcv)); len(data) > n {
		data, fin = data[:max(n, 0)], false
	}
	n := c.deliver(data)
	if c.state != established {
		return
	}
	c.rcv += uint32(n)
	if fin && n == len(data) {
		c.fin = true
		c.rcv++
		c.goodbye()
	}
}

// dialogue reports whether a segment is likely to be answered at once, by
// data or by a FIN, so that its acknowledgement can wait for that.
func (c *conn) dialogue(h *tcpHeader) bool {
	if h.seq != c.rcv || c.ackAt != 0 || c.backlog.size > 0 {
		return false
	}
	return h.flags&flagFIN != 0 && !c.eof || c.talked && len(h.data) < int(c.mss)
}

// deliver hands data to the host and returns how much was taken.
func (c *conn) deliver(data []byte) int {
	n := 0
	if c.backlog.size == 0 && len(data) > 0 && !c.shut {
		var errno unix.Errno
		n, errno = send(c.fd, data)
		if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
			c.abort()
			return 0
		}
	}
	if n < len(data) {
		n += c.backlog.push(data[n:], &c.s.chunks)
	}
	return n
}

// drain hands the backlog to the host.
func (c *conn) drain() {
	before := c.window()
	for c.backlog.size > 0 {
		n, errno := send(c.fd, c.backlog.first())
		if errno == unix.EAGAIN {
			break
		} else if errno != 0 {
			c.abort()
			return
		}
		c.backlog.drop(n, &c.s.chunks)
	}
	if after(c.rcv+c.window(), c.edge+uint32(2*c.mss)) || before == 0 {
		c.owe()
	}
	c.goodbye()
}

// goodbye passes the container's FIN on when everything before it has been
// passed on.
func (c *conn) goodbye() {
	if c.fin && c.backlog.size == 0 && !c.shut {
		c.shut = true
		c.s.leaving = append(c.s.leaving, c)
		c.finish()
	}
}

// part tells the host of the container's FINs, at the end of the turn: the
// program that closed one connection may be about to open the next, whose
// SYN goes first.
func (s *Stack) part() {
	for i, c := range s.leaving {
		s.leaving[i] = nil
		if c.fd >= 0 {
			unix.Shutdown(c.fd, unix.SHUT_WR)
		}
	}
	s.leaving = s.leaving[:0]
}

// finish closes a connection that both sides have ended.
func (c *conn) finish() {
	if c.shut && c.finSent && c.una == c.max {
		c.settle()
		c.close()
	}
}

// reset answers a segment that belongs to nothing (RFC 9293 section 3.10.7.1).
func (s *Stack) reset(p *packet, h *tcpHeader) {
	if h.flags&flagRST != 0 {
		return
	}
	c := conn{s: s, key: key{p.dst, p.src, h.dport, h.sport}, local: p.src, scale: noScale, state: closed}
	if h.flags&flagACK != 0 {
		c.transmit(flagRST, h.ack, 0, 0)
		return
	}
	c.rcv = h.seq + uint32(len(h.data))
	if h.flags&flagSYN != 0 {
		c.rcv++
	}
	if h.flags&flagFIN != 0 {
		c.rcv++
	}
	c.transmit(flagRST|flagACK, 0, 0, 0)
}
