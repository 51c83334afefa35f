package stack

import "time"

// Everything that the container can make the stack keep is bounded here. The
// program inside is not trusted: past a limit its packet is dropped, as a
// full queue on a real network would drop it, and TCP tries again.
const (
	// maxConns bounds TCP connections in any state. Each holds one host
	// descriptor; Linux gives a service 1024 to 524288, and Open lowers the
	// bound to fit the limit of this process.
	maxConns = 16384

	// maxDialing bounds connections whose host side is not connected yet. A
	// dial into nowhere lasts two minutes; past the bound the oldest gives
	// way, so that a SYN flood cannot keep a good dial from starting.
	maxDialing = 1024

	// maxFlight bounds bytes sent to the container and not acknowledged,
	// per connection. The link's round trip is 0.1 ms: 1 MiB is 80 Gbit/s.
	maxFlight = 1 << 20

	// maxBacklog bounds bytes taken from the container that the host socket
	// has not taken yet, per connection: it is the advertised window.
	maxBacklog = 1 << 20

	// maxBuffered bounds both of the above over all connections. Beyond it
	// segments are dropped and nothing more is read from host sockets, so
	// that memory stays far below the 256 MiB of the attack cases.
	maxBuffered = 96 << 20

	// maxFlows bounds UDP flows and maxEchoes ping conversations, one host
	// descriptor each; the least recently used one gives way.
	maxFlows  = 1024
	maxEchoes = 64

	// maxQueries bounds DNS questions in flight, one host descriptor each.
	maxQueries = 512

	// maxFragmented bounds datagrams that wait for fragments, 64 KiB each.
	maxFragmented = 16

	// packetsPerTurn bounds what one turn of the loop takes from the device
	// before it looks at the host sockets again, and bytesPerTurn what it
	// takes from one host socket.
	packetsPerTurn = 64
	bytesPerTurn   = 512 << 10
)

const (
	// Linux starts with an RTO of 200 ms at least and the link loses
	// nothing in normal life, so there is no point in measuring it.
	minRetransmit = 200 * time.Millisecond
	maxRetransmit = 10 * time.Second
	// ackDelay is how long a request waits to be acknowledged together with
	// its answer. Linux waits 40 ms; less hurts less where a program writes
	// twice before it reads (Nagle).
	ackDelay = 5 * time.Millisecond
	// maxRetries without an answer end a connection after about a minute:
	// the far end is the container's kernel, which does not go away.
	maxRetries = 10
	// maxHandshake retries of a SYN or SYN-ACK, doubling from minRetransmit.
	maxHandshake = 6

	// idleProbe is how long a connection may be silent before the
	// container's kernel is asked whether it still knows it. Linux forgets a
	// half-closed connection (FIN-WAIT-2) without a word.
	idleProbe = 10 * time.Minute

	// As Linux's connection tracking has them (nf_conntrack_udp_timeout and
	// nf_conntrack_udp_timeout_stream, nf_conntrack_icmp_timeout).
	udpUnanswered = 30 * time.Second
	udpAnswered   = 120 * time.Second
	echoTimeout   = 30 * time.Second

	// fragmentTimeout is net.ipv4.ipfrag_time.
	fragmentTimeout = 30 * time.Second
)
