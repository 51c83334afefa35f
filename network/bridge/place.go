package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"bryo/network"
	"bryo/network/rtnl"
)

// Place is a network namespace on a network, a network.Attachment.
type Place struct {
	line      *Line
	namespace *os.File // our own descriptor of it
	request   Request
	route     bool                     // this network is the way out
	got       atomic.Pointer[Attached] // what the helper gave last; another may come while it is read
	done      chan struct{}
	inlets    map[int]inlet
	lastInlet int
}

// inlet is a published UDP port: our descriptor of the host's socket.
type inlet struct {
	Inlet
	socket *os.File
}

// Attach puts a namespace on the network: a device in it, with addresses and, with
// route, the default route. The caller is root of the user namespace that owns it.
func (l *Line) Attach(namespace *os.File, r Request, route bool) (*Place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", namespace.Fd()))
	if err != nil {
		return nil, fmt.Errorf("network %s: namespace: %w", filepath.Base(l.dir), err)
	}
	p := &Place{line: l, namespace: own, request: r, route: route, done: make(chan struct{}), inlets: map[int]inlet{}}
	if err := p.attach(); err != nil {
		own.Close()
		return nil, fmt.Errorf("network %s: %w", filepath.Base(l.dir), err)
	}
	l.place = p
	return p, nil
}

// attach is called with the line's lock held.
func (p *Place) attach() error {
	answer, err := p.line.ask(message{Attach: &p.request}, p.namespace)
	if err != nil {
		return err
	}
	if answer.Attached == nil || len(answer.Attached.Gateways) != len(answer.Attached.Addresses) {
		return errors.New("attach: the helper's answer makes no sense")
	}
	p.got.Store(answer.Attached)
	p.request.Last = nil
	for _, a := range p.got.Load().Addresses {
		p.request.Last = append(p.request.Last, a.Addr())
	}
	if err := p.submit(p.plan); err != nil {
		return err
	}
	for _, in := range p.inlets { // of a place at a helper that was killed
		if _, err := p.line.ask(message{Serve: &in.Inlet}, in.socket); err != nil {
			return err
		}
	}
	return nil
}

// Datagrams brings what arrives at fd, a bound UDP socket of the host, to a port of
// the container. It owns fd from here on; when stop returns, it is closed.
func (p *Place) Datagrams(fd int, _ []netip.Addr, port uint16) (stop func(), err error) {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.lastInlet++
	in := inlet{Inlet{p.lastInlet, port}, os.NewFile(uintptr(fd), "published port")}
	if _, err := p.line.ask(message{Serve: &in.Inlet}, in.socket); err != nil {
		in.socket.Close()
		return nil, err
	}
	p.inlets[in.ID] = in
	return func() { p.stopInlet(in) }, nil
}

func (p *Place) stopInlet(in inlet) {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	if p.line.place == p {
		_, _ = p.line.ask(message{Stop: in.ID})
	}
	delete(p.inlets, in.ID)
	in.socket.Close()
}

// submit makes a plan for the device and carries it out in the container.
func (p *Place) submit(plan func(index int) []*rtnl.Request) error {
	return network.OnNamespace(int(p.namespace.Fd()), func() error {
		index, err := rtnl.Index(p.got.Load().Link)
		if err != nil {
			return err
		}
		return rtnl.Submit(plan(index)...)
	})
}

func (p *Place) plan(index int) []*rtnl.Request {
	plan := []*rtnl.Request{rtnl.Up(rtnl.Loopback)}
	if !p.hasIPv6() {
		plan = append(plan, rtnl.NoLinkLocal(index).Soft())
	}
	plan = append(plan, rtnl.Up(index))
	for _, a := range p.got.Load().Addresses {
		address := rtnl.Address(index, a)
		if a.Addr().Is6() { // the host may have none
			address = address.Soft()
		}
		plan = append(plan, address)
	}
	if p.route {
		plan = append(plan, p.routes(index)...)
	}
	return plan
}

// routes lead out through the network's gateways. Soft: of several networks the
// first has them.
func (p *Place) routes(index int) (plan []*rtnl.Request) {
	if p.got.Load().Internal {
		return nil
	}
	for _, g := range p.got.Load().Gateways {
		plan = append(plan, rtnl.DefaultRoute(index, g).Soft())
	}
	return plan
}

func (p *Place) hasIPv6() bool {
	return slices.ContainsFunc(p.got.Load().Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() })
}

// Route makes this network the container's way out.
func (p *Place) Route() error {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.route = true
	return p.submit(p.routes)
}

// Leads says whether this network is the container's way out.
func (p *Place) Leads() bool {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	return p.route
}

// Unroute gives the way out to another network.
func (p *Place) Unroute() error {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.route = false
	return p.submit(func(index int) []*rtnl.Request {
		return []*rtnl.Request{rtnl.NoDefaultRoute(index, true).Soft(), rtnl.NoDefaultRoute(index, false).Soft()}
	})
}

// The methods of network.Attachment.

// Addresses of the container on this network.
func (p *Place) Addresses() []netip.Prefix { return p.got.Load().Addresses }

// Gateways, one for each address.
func (p *Place) Gateways() []netip.Addr { return p.got.Load().Gateways }

// DNS is the network's name server, on the gateways.
func (p *Place) DNS() []netip.Addr { return p.got.Load().Gateways }

// Done is closed by Close; a helper that ends is waited for (Line).
func (p *Place) Done() <-chan struct{} { return p.done }

// Err is nil: see Done.
func (p *Place) Err() error { return nil }

// Close takes the namespace off the network.
func (p *Place) Close() error {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	if p.line.place == p {
		p.line.place = nil
		_, _ = p.line.ask(message{Detach: true})
	}
	select {
	case <-p.done:
	default:
		close(p.done)
		p.namespace.Close()
	}
	return nil
}

// Internal networks have no way out.
func (p *Place) Internal() bool { return p.got.Load().Internal }

// HostGateway stands for the host's loopback; invalid: that cannot be reached.
func (p *Place) HostGateway() netip.Addr { return p.got.Load().Host }

// MAC is the hardware address of the device.
func (p *Place) MAC() string { return p.got.Load().MAC }

// Link is the name of the device in the container.
func (p *Place) Link() string { return p.got.Load().Link }

// Warning says what the network lacks; "": nothing.
func (p *Place) Warning() string { return p.got.Load().Warning }
