// Package redirect gives a container outbound TCP and DNS where the host has no
// /dev/net/tun: the container's kernel redirects every connection that leaves to a
// listener of ours in its network namespace, and a relay dials the destination on
// the host.
//
// It is the next best thing. There is no UDP but for questions to the resolver and
// no ICMP, and a connection is accepted before it is known whether its destination
// is there: one that is refused or not allowed is reset, not refused.
//
// Start reading at Attach; rules.go has the redirection.
package redirect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bryo/network/dns"
	"bryo/network/port"
	"bryo/network/rtnl"
	"bryo/network/stack"
)

// Config of one container's.
type Config struct {
	Addresses  []netip.Prefix // the container's, at most one per family
	Gateways   []netip.Addr   // of the same families; they answer DNS
	Policy     stack.Policy
	ResolvConf string
	// NoTCP leaves connections alone: another way takes them.
	NoTCP bool
}

// Network is a wired namespace.
type Network struct {
	cfg       Config
	listeners []net.Listener
	resolvers []*net.UDPConn
	done      chan struct{}
	once      sync.Once
	slots     chan struct{}
}

const (
	// maxConnections bounds relays: two descriptors and two goroutines each.
	maxConnections = 4096
	dialTime       = 2 * time.Minute // what a Linux kernel waits for an answer to SYN
	dnsPort        = 53
)

// Attach wires the namespace that enter runs functions in.
func Attach(cfg Config, enter func(func() error) error) (*Network, error) {
	n := &Network{cfg: cfg, done: make(chan struct{}), slots: make(chan struct{}, maxConnections)}
	if err := enter(n.wire); err != nil {
		_ = n.Close()
		return nil, err
	}
	for _, l := range n.listeners {
		go n.accept(l.(*net.TCPListener))
	}
	return n, nil
}

// wire runs inside. The routes come last: without the rest they lead nowhere, and
// the kernel would not say so.
func (n *Network) wire() error {
	links := []*rtnl.Request{rtnl.Up(rtnl.Loopback)}
	var routes []*rtnl.Request
	for i, p := range n.cfg.Addresses {
		own, gateway := p.Addr(), n.cfg.Gateways[i]
		list := []*rtnl.Request{
			rtnl.Address(rtnl.Loopback, netip.PrefixFrom(own, own.BitLen())),
			rtnl.Address(rtnl.Loopback, netip.PrefixFrom(gateway, own.BitLen())),
			rtnl.DefaultDevice(rtnl.Loopback, own.Is4()),
		}
		if own.Is6() { // a kernel without IPv6 still has a network
			list[0], list[1] = list[1], list[0] // the last is what connections come from
			for _, r := range list {
				r.Soft()
			}
		}
		links, routes = append(links, list[:2]...), append(routes, list[2])
	}
	if err := rtnl.Submit(links...); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	for i, p := range n.cfg.Addresses {
		if err := n.serve(p.Addr(), n.cfg.Gateways[i]); err != nil && p.Addr().Is4() {
			return err
		}
	}
	if n.cfg.NoTCP {
		return nil
	}
	if err := rtnl.Submit(routes...); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	return nil
}

// serve opens the sockets of one family and redirects to them.
func (n *Network) serve(own, gateway netip.Addr) error {
	if err := n.answerNames(gateway); err != nil {
		return err
	}
	if n.cfg.NoTCP {
		return nil
	}
	l, err := listen(netip.AddrPortFrom(loopback(own), 0))
	if err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	if err := install(own, gateway, l.Addr().(*net.TCPAddr).AddrPort().Port()); err != nil {
		l.Close()
		return fmt.Errorf("redirect: nftables: %w", err)
	}
	n.listeners = append(n.listeners, l)
	return nil
}

func loopback(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// listen makes the socket on the calling thread, which Go's own listen does not
// promise.
func listen(at netip.AddrPort) (net.Listener, error) {
	fd, err := bound(at, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("listen", err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	return net.FileListener(f)
}

func bound(at netip.AddrPort, kind int) (int, error) {
	domain := unix.AF_INET6
	var name unix.Sockaddr = &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
	if at.Addr().Is4() {
		domain, name = unix.AF_INET, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, name); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", at, err)
	}
	return fd, nil
}

// answerNames serves DNS at the gateway's address, over UDP and TCP.
func (n *Network) answerNames(gateway netip.Addr) error {
	at := netip.AddrPortFrom(gateway, dnsPort)
	fd, err := bound(at, unix.SOCK_DGRAM)
	if err != nil {
		return fmt.Errorf("redirect: resolver: %w", err)
	}
	f := os.NewFile(uintptr(fd), "resolver")
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return fmt.Errorf("redirect: resolver: %w", err)
	}
	l, err := listen(at)
	if err != nil {
		conn.Close()
		return fmt.Errorf("redirect: resolver: %w", err)
	}
	udp := conn.(*net.UDPConn)
	n.resolvers = append(n.resolvers, udp)
	resolvers := dns.HostResolvers(n.cfg.ResolvConf)
	server := dns.New(noNames{}, func(netip.Addr) []netip.AddrPort { return resolvers() })
	go server.Serve(udp)
	go server.ServeTCP(l)
	go func() { <-n.done; l.Close() }()
	return nil
}

// noNames: no container has a name here.
type noNames struct{}

func (noNames) Addresses(netip.Addr, string) ([]netip.Addr, bool) { return nil, false }
func (noNames) Name(_, _ netip.Addr) (string, bool)               { return "", false }

// accept takes the container's connections until the listener is closed.
func (n *Network) accept(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors: some come back
			time.Sleep(10 * time.Millisecond)
			continue
		}
		select {
		case n.slots <- struct{}{}:
			go func() { n.relay(c); <-n.slots }()
		default:
			reset(c)
		}
	}
}

// relay joins a connection to its destination on the host, or resets it.
func (n *Network) relay(c *net.TCPConn) {
	to, ok := n.destination(c)
	if !ok {
		reset(c)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		reset(c)
		return
	}
	port.Join(c, server.(*net.TCPConn))
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// destination is where a redirected connection was going, as it is dialed on the
// host. A connection to the listener itself has none.
func (n *Network) destination(c *net.TCPConn) (netip.AddrPort, bool) {
	to, err := original(c)
	if err != nil || to == unmapped(c.LocalAddr().(*net.TCPAddr).AddrPort()) {
		return to, false
	}
	for _, g := range n.cfg.Gateways {
		if to.Addr() == g {
			return netip.AddrPortFrom(loopback(g), to.Port()), n.cfg.Policy.HostLoopback
		}
	}
	return to, n.cfg.Policy.Allows(to.Addr())
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Addresses of the container.
func (n *Network) Addresses() []netip.Prefix { return n.cfg.Addresses }

// Gateways answer DNS, and stand for the host's loopback if the policy says so.
func (n *Network) Gateways() []netip.Addr { return n.cfg.Gateways }

// DNS is what belongs into the container's resolv.conf.
func (n *Network) DNS() []netip.Addr { return n.cfg.Gateways }

// Done is closed by Close.
func (n *Network) Done() <-chan struct{} { return n.done }

// Err is nil: the network ends with Close or with this process.
func (n *Network) Err() error { return nil }

// Close ends it. Connections that are under way end with their programs.
func (n *Network) Close() error {
	n.once.Do(func() { close(n.done) })
	var all []error
	for _, l := range n.listeners {
		all = append(all, l.Close())
	}
	for _, r := range n.resolvers {
		all = append(all, r.Close())
	}
	return errors.Join(all...)
}
