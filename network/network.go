// Package network connects containers to the network without privilege on the
// host.
//
// A Driver wires one network namespace. The caller is bryo's supervisor: root
// of the user namespace that owns the container's network namespace, and
// itself in the host's network namespace, so that what a driver dials or
// listens on is the host's. Start reading at Driver and New; the driver of
// the default network is in the folder stack, published ports in port,
// networks that users define in bridge.
//
// The package makes no namespaces for containers (sandbox does) and writes no
// files into them (resolv.conf and hosts are the engine's).
package network

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"

	"bryo/network/redirect"
	"bryo/network/rtnl"
	"bryo/network/stack"
)

// A Driver connects one network namespace.
type Driver interface {
	// Attach wires the namespace behind ns, an open descriptor of it that
	// Attach does not keep. The program inside may start when it returns.
	Attach(ctx context.Context, ns *os.File, cfg Config) (Attachment, error)
}

// Config is what a user may choose about a container's network.
type Config struct {
	// HostLoopback makes the gateway stand for the host's own loopback
	// ("host.containers.internal"); otherwise that cannot be reached.
	HostLoopback bool
	// Metadata opens link-local and cloud metadata addresses.
	Metadata bool
	MTU      int // 0: 1500
	// Device is the default network's name in the container; "": eth0.
	Device string
	// ResolvConf is where the host's resolvers are found; "":
	// /etc/resolv.conf.
	ResolvConf string
}

// An Attachment is a wired namespace. Close takes the wires away; the death
// of this process does so too.
type Attachment interface {
	// Addresses of the container, at most one per family.
	Addresses() []netip.Prefix
	// Gateways, one for each address. With the default driver it is also
	// the host, if Config.HostLoopback says so.
	Gateways() []netip.Addr
	// DNS is what belongs into the container's resolv.conf; empty when the
	// host's own file fits.
	DNS() []netip.Addr
	// Done is closed when the attachment has ended, by Close or by itself;
	// Err then says why, nil after Close.
	Done() <-chan struct{}
	Err() error
	Close() error
}

// An Inlet is an Attachment that can bring connections from the host into the
// container.
type Inlet interface {
	// Inbound joins fd, a connected TCP socket of the host, to a port of the
	// container, which sees client as the other end. It owns fd from here on.
	Inbound(fd int, client netip.AddrPort, port uint16)
	Datagrams
}

// Datagrams is an Attachment that can bring datagrams from the host in.
type Datagrams interface {
	// Datagrams brings what arrives at fd, a bound UDP socket of the host, to a
	// port of the container with these addresses. It owns fd from here on; when
	// stop returns, it is closed.
	Datagrams(fd int, to []netip.Addr, port uint16) (stop func(), err error)
}

// A Parker is an Attachment that another image of this process can go on with: the
// default network's. Where nothing is on its way, Park stops it and gives its device, for
// Default.Adopt; packets wait there. Unpark lets it go on.
type Parker interface {
	Park() (fd int, idle bool)
	Unpark()
	// Packets counts what the container has sent.
	Packets() uint64
}

// New returns the driver of a network mode: "none", "host", "default" or ""
// (the same), "bypass". Networks that users define have their own driver in bridge.
func New(mode string) (Driver, error) {
	switch mode {
	case "none":
		return None{}, nil
	case "host":
		return Host{}, nil
	case "default", "", "bypass":
		// What a bypass does not take goes this way.
		return Default{}, nil
	}
	return nil, fmt.Errorf("network %s: no such mode", mode)
}

// None leaves the container with its own loopback.
type None struct{}

// Attach brings lo up.
func (None) Attach(_ context.Context, ns *os.File, _ Config) (Attachment, error) {
	err := OnNamespace(int(ns.Fd()), func() error { return rtnl.Submit(rtnl.Up(rtnl.Loopback)) })
	if err != nil {
		return nil, fmt.Errorf("attach network none: %w", err)
	}
	return newStill(), nil
}

// Adopt is Attach for a namespace that an earlier image of this process attached.
func (None) Adopt() Attachment { return newStill() }

// Host is the driver of containers that have no namespace of their own.
type Host struct{}

// Attach does nothing; ns may be nil.
func (Host) Attach(context.Context, *os.File, Config) (Attachment, error) { return newStill(), nil }

// still is an Attachment that needs nobody.
type still struct{ done chan struct{} }

func newStill() *still { return &still{make(chan struct{})} }

func (*still) Addresses() []netip.Prefix { return nil }
func (*still) Gateways() []netip.Addr    { return nil }
func (*still) DNS() []netip.Addr         { return nil }
func (s *still) Done() <-chan struct{}   { return s.done }
func (*still) Err() error                { return nil }
func (s *still) Close() error {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	return nil
}

// TUN is the device that the default network needs.
const TUN = stack.TUN

// Default is the user-mode network stack, one per container.
type Default struct{}

// The container's side of the link. Nothing on the host has these addresses
// and they shadow only themselves: all others of their networks can be
// reached through the gateway like the rest of the world.
var (
	defaultAddresses = []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 2, 100}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x62, 2: 0x72, 3: 0x79, 4: 0x6f, 15: 0x64}), 64),
	}
	defaultGateways = []netip.Addr{
		netip.AddrFrom4([4]byte{10, 0, 2, 2}),
		netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x62, 2: 0x72, 3: 0x79, 4: 0x6f, 15: 0x02}),
	}
)

// DefaultSubnets are the networks of the default driver's link and its gateways.
func DefaultSubnets() ([]netip.Prefix, []netip.Addr) { return defaultAddresses, defaultGateways }

// Attach makes the device and starts the stack in this process.
func (Default) Attach(_ context.Context, ns *os.File, cfg Config) (Attachment, error) {
	s, err := stack.Open(cfg.stack(), func(fn func() error) error { return OnNamespace(int(ns.Fd()), fn) })
	if err != nil {
		return nil, fmt.Errorf("attach default network: %w", err)
	}
	return attached{s}, nil
}

// Adopt serves the device that an earlier image of this process parked. It owns fd.
func (Default) Adopt(fd int, cfg Config) (Attachment, error) {
	s, err := stack.Serve(cfg.stack(), fd)
	if err != nil {
		return nil, fmt.Errorf("attach default network: %w", err)
	}
	return attached{s}, nil
}

func (cfg *Config) stack() stack.Config {
	return stack.Config{
		Device:     cmp.Or(cfg.Device, "eth0"),
		MTU:        cfg.MTU,
		Addresses:  defaultAddresses,
		Gateways:   defaultGateways,
		Policy:     stack.Policy{HostLoopback: cfg.HostLoopback, Metadata: cfg.Metadata},
		ResolvConf: cfg.ResolvConf,
	}
}

// Redirect is the default network of hosts without a TUN device: outbound TCP and
// DNS.
type Redirect struct {
	// NoTCP: DNS alone, beside a bypass.
	NoTCP bool
}

// Attach redirects what leaves the namespace to relays in this process.
func (r Redirect) Attach(_ context.Context, ns *os.File, cfg Config) (Attachment, error) {
	n, err := redirect.Attach(redirect.Config{
		Addresses: defaultAddresses, Gateways: defaultGateways, ResolvConf: cfg.ResolvConf, NoTCP: r.NoTCP,
		Policy: stack.Policy{HostLoopback: cfg.HostLoopback, Metadata: cfg.Metadata},
	}, func(fn func() error) error { return OnNamespace(int(ns.Fd()), fn) })
	if err != nil {
		return nil, fmt.Errorf("attach network: %w", err)
	}
	return n, nil
}

// attached is the stack as an Attachment.
type attached struct{ *stack.Stack }

func (attached) Addresses() []netip.Prefix { return defaultAddresses }
func (attached) Gateways() []netip.Addr    { return defaultGateways }
func (attached) DNS() []netip.Addr         { return defaultGateways }

// Packets counts what the container has sent.
func (a attached) Packets() uint64 { return a.Counts().Packets }
