package dns

import (
	"bytes"
	"net"
	"net/netip"
	"time"
)

const (
	// perServer is how long one resolver may think before the next is asked, and
	// overall when an answer is too late for any client.
	perServer = 2 * time.Second
	overall   = 8 * time.Second
	header    = 12 // bytes of a message's fixed part, RFC 1035 section 4.1.1
)

// forward asks the host's resolvers in turn. One that would or could not answer
// is passed over for the next, as glibc does; "no such name" is an answer.
func (s *Server) forward(from netip.Addr, message []byte, network string) []byte {
	if len(message) < header || message[2]&0x80 != 0 {
		return nil
	}
	var refusal []byte
	end := time.Now().Add(overall)
	if s.Resolvers != nil {
		for _, to := range s.Resolvers(from) {
			m := exchange(network, to, message, min(perServer, time.Until(end)))
			switch {
			case m == nil:
			case unwilling(m):
				refusal = m
			default:
				return m
			}
		}
	}
	if refusal != nil {
		return refusal
	}
	return failure(message)
}

// unwilling: server failure, not implemented, refused.
func unwilling(m []byte) bool {
	code := m[3] & 15
	return code == 2 || code == 4 || code == 5
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
		if err != nil || !answers(m, message) {
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
		if answers(buffer[:n], message) {
			return buffer[:n]
		}
	}
}

// answers: the identifier is the question's, and so is the question, where the
// answer repeats it. The socket is connected: it can only come from there.
func answers(m, question []byte) bool {
	if len(m) < header || m[2]&0x80 == 0 || !bytes.Equal(m[:2], question[:2]) {
		return false
	}
	size := questionEnd(question)
	if m[4] == 0 && m[5] == 0 {
		return true
	}
	return len(m) >= size && bytes.EqualFold(m[header:size], question[header:size])
}

// questionEnd is where the first question of a message ends.
func questionEnd(m []byte) int {
	at := header
	for at < len(m) && m[at] != 0 && m[at] < 64 {
		at += 1 + int(m[at])
	}
	return min(at+5, len(m))
}
