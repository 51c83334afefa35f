package dns

import (
	"net"
	"net/netip"
	"time"
)

const (
	// perServer is how long one resolver may think before the next is asked, and
	// overall when an answer is too late for any client.
	perServer = 2 * time.Second
	overall   = 8 * time.Second
)

// forward asks the host's resolvers in turn. One that would or could not answer
// is passed over for the next, as glibc does; "no such name" is an answer.
func (s *Server) forward(from netip.Addr, message []byte, network string) []byte {
	if !IsQuestion(message) {
		return nil
	}
	var refusal []byte
	end := time.Now().Add(overall)
	if s.Resolvers != nil {
		for _, to := range s.Resolvers(from) {
			m := exchange(network, to, message, min(perServer, time.Until(end)))
			switch {
			case m == nil:
			case Unwilling(m):
				refusal = m
			default:
				return m
			}
		}
	}
	if refusal != nil {
		return refusal
	}
	return Failure(message)
}

// exchange asks one server; nil: no answer.
func exchange(network string, to netip.AddrPort, message []byte, patience time.Duration) []byte {
	if patience <= 0 {
		return nil
	}
	conn, err := net.DialTimeout(network, to.String(), patience)
	if err != nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if network == "tcp" {
		if writeFrame(conn, message) != nil {
			return nil
		}
		m, err := readFrame(conn)
		if err != nil || !Answers(m, message) {
			return nil
		}
		return m
	}
	if _, err := conn.Write(message); err != nil {
		return nil
	}
	buffer := make([]byte, maxMessage)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil
		}
		if Answers(buffer[:n], message) {
			return buffer[:n]
		}
	}
}
