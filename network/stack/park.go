package stack

// Park stops the loop if the stack carries nothing for anybody, until Unpark: packets
// then wait in the device, and datagrams in their sockets. fd is the device's, for Serve
// in another image of this process. Not idle, the loop goes on.
func (s *Stack) Park() (fd int, idle bool) {
	answer := make(chan bool, 1)
	s.do(func() {
		if idle := s.idle(); !idle || s.stop {
			answer <- false
			return
		}
		s.parked = make(chan struct{})
		answer <- true
		<-s.parked
	})
	select {
	case idle = <-answer:
	case <-s.done:
	}
	return s.dev.fd, idle
}

// Unpark lets a parked loop go on.
func (s *Stack) Unpark() { close(s.parked) }

// idle: there is no state that another stack on the same device would lack.
func (s *Stack) idle() bool {
	s.mu.Lock()
	jobs := len(s.jobs) // behind this one
	s.mu.Unlock()
	held := len(s.conns) + s.flows.size() + s.echoes.size() + s.dns.size() + len(s.pieces.list)
	return held+jobs+len(s.again) == 0
}
