// Package stack connects a container's network namespace to the host without
// privilege on the host: it is the far end of a TUN in the container and
// carries what arrives there over ordinary host sockets.
//
// Start reading at Open, then loop.turn, then Stack.packet. One thread does
// everything (loop.go); tcp*.go terminate the container's TCP connections and
// relay their bytes, datagram.go, icmp.go and dns.go relay datagrams, policy.go
// decides where the container may go at all.
//
// The TCP here talks to one peer only, the container's own kernel, over a
// link that neither loses nor reorders in normal life. It therefore leaves
// out congestion control, selective acknowledgement, timestamps and urgent
// data; it retransmits, probes, and bounds everything it keeps. The TCP that
// crosses the real network is the host kernel's. Multicast, traceroute and
// protocols other than TCP, UDP and ICMP echo are left out too.
package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Config describes the container's side of the link.
type Config struct {
	Device    string         // name of the device in the container; "eth0"
	MTU       int            // 0: 1500
	Addresses []netip.Prefix // of the container, at most one per family
	Gateways  []netip.Addr   // one for each address, of its family
	// Router: the device belongs to a router that Addresses lie behind: every
	// address of those networks is a container's.
	Router bool
	Policy Policy
	// ResolvConf is the host's resolver configuration, read again whenever
	// it changes; "": /etc/resolv.conf.
	ResolvConf string
}

// Stack is one container's connection to the host's network.
type Stack struct {
	loop
	cfg  Config
	dev  *device
	addr map[netip.Addr]netip.Addr // container's address -> its gateway
	// destination is Policy.destination, but for tests.
	destination func(a, gateway netip.Addr) (netip.Addr, bool)
	port        uint16 // instead of every other port, in tests

	conns   map[key]*conn
	dialing queue // oldest first
	acks    []*conn
	leaving []*conn // have got the container's FIN in this turn
	chunks  chunks
	flows   *table
	echoes  *table
	dns     *forwarder
	inlets  []*inlet
	pieces  reassembly

	in   [vnetLen + 1<<16]byte // one packet from the device
	head [vnetLen + ip6Len + 64]byte
	iov  []unix.Iovec

	sweep timer

	packets uint64        // from the container
	parked  chan struct{} // closed by Unpark

	once sync.Once
	done chan struct{}
	err  error
	stop bool
}

// Open makes the device in the network namespace behind ns, an open
// descriptor of it, and serves it until Close. enter runs a function on a
// thread that is in that namespace (network.OnNamespace); the caller is root
// of the user namespace that owns it.
func Open(cfg Config, enter func(func() error) error) (*Stack, error) {
	var fd int
	err := enter(func() (err error) {
		fd, err = Device(cfg)
		return err
	})
	if err != nil {
		return nil, err
	}
	return Serve(cfg, fd)
}

// Serve is the other half of Open: it serves a device that Device made, perhaps
// in another process. It owns fd.
func Serve(cfg Config, fd int) (*Stack, error) {
	s, err := newStack(cfg)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	s.dev = &device{fd: fd, name: cfg.Device}
	if err := s.watch(s.dev.fd, &inbound{s, 1}, unix.EPOLLIN); err != nil {
		s.loop.close()
		unix.Close(s.dev.fd)
		return nil, err
	}
	confined := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread has no rights left
		if err := dropRights(); err != nil {
			confined <- err
			return
		}
		close(confined)
		s.run()
	}()
	if err := <-confined; err != nil {
		s.loop.close()
		unix.Close(s.dev.fd)
		return nil, err
	}
	return s, nil
}

// defaultMTU is the Internet's.
const defaultMTU = 1500

// newStack makes a stack without a device.
func newStack(cfg Config) (*Stack, error) {
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	if len(cfg.Addresses) != len(cfg.Gateways) {
		return nil, errors.New("network stack: as many gateways as addresses are needed")
	}
	s := &Stack{
		cfg:         cfg,
		addr:        map[netip.Addr]netip.Addr{},
		conns:       map[key]*conn{},
		destination: cfg.Policy.destination,
		chunks:      chunks{limit: maxBuffered / chunkLen},
		done:        make(chan struct{}),
	}
	for i, a := range cfg.Addresses {
		s.addr[a.Addr()] = cfg.Gateways[i]
	}
	if err := s.loop.open(); err != nil {
		return nil, err
	}
	s.flows, s.echoes = newTable(s, maxFlows), newTable(s, maxEchoes)
	s.dns = newForwarder(s, cfg.ResolvConf)
	s.sweep.owner = sweeper{s}
	return s, nil
}

// Done is closed when the stack has ended; Err then says why, nil after Close.
func (s *Stack) Done() <-chan struct{} { return s.done }

// Err is why the stack ended. It is valid after Done.
func (s *Stack) Err() error { return s.err }

// Close resets all connections and takes the device away.
func (s *Stack) Close() error {
	s.once.Do(func() { s.do(func() { s.stop = true }) })
	<-s.done
	return s.err
}

// run serves the device until Close or until the namespace is gone. A panic
// ends this stack only: its container loses the network, and the supervisor
// lives to say so.
func (s *Stack) run() {
	defer close(s.done)
	defer func() {
		if r := recover(); r != nil {
			s.err = fmt.Errorf("network stack: %v", r)
		}
		s.release()
	}()
	events := make([]unix.EpollEvent, 128)
	for !s.stop {
		if err := s.turn(events); err != nil {
			s.err = err
			return
		}
		s.acknowledge()
		s.part()
	}
}

// release closes every descriptor.
func (s *Stack) release() {
	for _, c := range s.conns {
		c.abort()
	}
	s.flows.closeAll()
	s.echoes.closeAll()
	s.dns.closeAll()
	for _, in := range s.inlets {
		s.forget(in.fd)
	}
	unix.Close(s.dev.fd)
	s.loop.close()
	s.chunks.least = s.chunks.spare
	s.chunks.trim()
}

// Counts says how much the stack holds at one moment.
type Counts struct {
	Connections, Dialing, Flows, Echoes, Queries int
	Buffered                                     int // bytes
	Packets                                      uint64
}

// Counts asks the loop what it holds.
func (s *Stack) Counts() Counts {
	answer := make(chan Counts, 1)
	s.do(func() {
		answer <- Counts{len(s.conns), s.dialing.size, s.flows.size(), s.echoes.size(), s.dns.size(), s.chunks.used * chunkLen, s.packets}
	})
	select {
	case c := <-answer:
		return c
	case <-s.done:
		return Counts{}
	}
}

// inbound takes packets from the device. A turn takes twice as many as the
// one before as long as there are so many: a lone packet, which somebody
// waits for, costs no second read that finds nothing.
type inbound struct {
	s     *Stack
	burst int
}

func (in *inbound) ready(uint32) {
	s := in.s
	want := in.burst
	for i := 0; i < want || i == want && len(s.leaving) > 0; i++ {
		n, err := s.dev.read(s.in[:])
		switch err {
		case nil:
			s.packets++
			if n > vnetLen {
				s.packet(s.in[vnetLen:n])
			}
		case unix.EAGAIN, unix.EINTR:
			in.burst = max(i, 1)
			return
		default: // EBADFD: the namespace is gone, and the device with it
			s.err, s.stop = fmt.Errorf("read from device: %w", err), true
			return
		}
	}
	in.burst = min(2*want, packetsPerTurn)
}

// packet looks at one packet from the container and hands it to whoever
// carries its protocol. b is valid until it returns.
func (s *Stack) packet(b []byte) {
	p, ok := parse(b)
	if !ok {
		return
	}
	// Only its own addresses: a container that makes up others gets no
	// connections in their name.
	if !s.gateway(p.src).IsValid() {
		return
	}
	s.timers.notAfter(&s.sweep, s.now+sweepEvery)
	if p.fragment {
		if p, ok = s.pieces.add(p, s.now); !ok {
			return
		}
	}
	switch p.proto {
	case protoTCP:
		s.tcp(&p)
	case protoUDP:
		s.udp(&p)
	case protoICMP, protoICMPv6:
		s.icmp(&p)
	}
}

// gateway is the gateway of an address of a container; invalid for every other.
func (s *Stack) gateway(a netip.Addr) netip.Addr {
	if !s.cfg.Router {
		return s.addr[a]
	}
	for i, p := range s.cfg.Addresses {
		if p.Contains(a) {
			return s.cfg.Gateways[i]
		}
	}
	return netip.Addr{}
}

// sweepEvery is the pace of housekeeping, which rests when there is nothing to do:
// an idle container wakes nobody.
const sweepEvery = 10e9

type sweeper struct{ s *Stack }

func (w sweeper) expired() {
	w.s.chunks.trim()
	w.s.pieces.expire(w.s.now)
	if w.s.chunks.spare > 0 || len(w.s.pieces.list) > 0 {
		w.s.timers.set(&w.s.sweep, w.s.now+sweepEvery)
	}
}

// emit writes one packet to the device: s.head[:n] is the virtio header, the
// IP header and the transport header, and s.iov[1:] is what follows. A packet
// that the device does not take is lost, as on any link.
func (s *Stack) emit(n int) {
	s.iov[0] = unix.Iovec{Base: &s.head[0]}
	s.iov[0].SetLen(n)
	s.dev.writev(s.iov)
}

// begin starts a packet without a payload.
func (s *Stack) begin() { s.iov = append(s.iov[:0], unix.Iovec{}) }

// carry adds b to the packet's payload.
func (s *Stack) carry(b []byte) {
	if len(b) == 0 {
		return
	}
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	s.iov = append(s.iov, v)
}

func random32() uint32 { return rand.Uint32() }
