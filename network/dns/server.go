package dns

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"
)

// Server answers on any number of sockets.
type Server struct {
	Names Names
	// Resolvers of this moment for who asks from an address, for everything that
	// is not a container's name; nil: the network has no way out.
	Resolvers func(from netip.Addr) []netip.AddrPort

	names, questions, connections slots
}

// slots bounds what runs at one moment.
type slots chan struct{}

const (
	// maxQuestions bounds those that the host's resolvers think about, a goroutine
	// and a descriptor each. Past it a question is lost, as on any network, and
	// asked again.
	maxQuestions = 512
	// maxNames bounds those that Names thinks about, on their own: whoever floods
	// the resolvers keeps nobody from the names of containers.
	maxNames = 512
	// maxConnections bounds those of TCP on their own: an idle one keeps no
	// question from being answered.
	maxConnections = 128
	// maxMessage is the largest over TCP; what comes by UDP is smaller.
	maxMessage = 1 << 16
	// idle is how long a client may keep a TCP connection without a question.
	idle = 10 * time.Second
)

// New makes a server.
func New(names Names, resolvers func(from netip.Addr) []netip.AddrPort) *Server {
	return &Server{
		Names: names, Resolvers: resolvers,
		names: make(slots, maxNames), questions: make(slots, maxQuestions), connections: make(slots, maxConnections),
	}
}

// Serve answers datagrams until the socket is closed.
func (s *Server) Serve(conn *net.UDPConn) {
	buffer := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		asked := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		message := append([]byte(nil), buffer[:n]...)
		answer := func(m []byte) {
			if m != nil {
				_, _ = conn.WriteToUDPAddrPort(m, from)
			}
		}
		s.names.begin(func() {
			if m := local(s.Names, asked.Addr(), message); m != nil {
				answer(m)
				return
			}
			s.questions.begin(func() { answer(s.forward(asked.Addr(), message, "udp")) })
		})
	}
}

// begin runs a task when there is a slot for it.
func (s slots) begin(task func()) bool {
	select {
	case s <- struct{}{}:
		go func() {
			defer func() { <-s }()
			task()
		}()
		return true
	default:
		return false
	}
}

// ServeTCP answers connections until the listener is closed.
func (s *Server) ServeTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if !s.connections.begin(func() { s.converse(conn) }) {
			conn.Close()
		}
	}
}

// converse answers the questions of one connection, one after the other.
func (s *Server) converse(conn net.Conn) {
	defer conn.Close()
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return
	}
	for {
		_ = conn.SetDeadline(time.Now().Add(idle))
		message, err := readFrame(conn)
		if err != nil {
			return
		}
		m := local(s.Names, from.Addr().Unmap(), message)
		if m == nil {
			m = s.forward(from.Addr().Unmap(), message, "tcp")
		}
		if m == nil || writeFrame(conn, m) != nil {
			return
		}
	}
}

// readFrame reads a message with its length in front (RFC 1035 section 4.2.2).
func readFrame(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeFrame(w io.Writer, message []byte) error {
	if len(message) >= maxMessage {
		return io.ErrShortWrite
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}
