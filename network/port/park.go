package port

import "time"

// Opened is a port with its socket, for another image of this process.
type Opened struct {
	Mapping Mapping
	FD      int
}

// Adopt takes the ports that an earlier image of this process parked.
func Adopt(list []Opened) *Set {
	s := &Set{}
	for _, o := range list {
		s.list = append(s.list, &listener{o.Mapping, o.FD})
	}
	return s
}

// Park stops taking clients if none is connected: new ones then wait in the sockets,
// which it returns, until Unpark. It does not stop the datagrams, which are the
// network's. idle is false where a client is there: all goes on.
func (s *Set) Park() (list []Opened, idle bool) {
	if s == nil {
		return nil, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.list {
		list = append(list, Opened{l.mapping, l.fd})
	}
	now := s.serving
	if now == nil {
		return list, true
	}
	if now.live.Load() > 0 {
		return nil, false
	}
	for _, l := range now.listeners {
		l.Close()
	}
	now.work.Wait()
	now.listeners = nil
	if now.live.Load() > 0 { // the last one that was accepted
		s.unpark()
		return nil, false
	}
	return list, true
}

// Unpark takes clients again.
func (s *Set) Unpark() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unpark()
}

func (s *Set) unpark() {
	now := s.serving
	if now == nil {
		return
	}
	for _, l := range s.list {
		if l.mapping.Protocol == UDP || s.silent {
			continue
		}
		for now.listen(l) != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors, as in accept
		}
	}
}

// Begun counts the clients that have connected.
func (s *Set) Begun() uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil {
		return 0
	}
	return s.serving.begun.Load()
}
