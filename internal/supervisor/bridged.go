package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bryo/internal/state"
	"bryo/network"
	"bryo/network/bridge"
	"bryo/rootfs/etc"
)

// lines are the connections to the helpers of the container's networks, kept from
// one run of its program to the next. linesMu guards them.
type lines map[string]*bridge.Line

// line returns the connection to a network's helper.
func (s *supervisor) line(name string) (*bridge.Line, error) {
	s.linesMu.Lock()
	defer s.linesMu.Unlock()
	if l := s.lines[name]; l != nil {
		return l, nil
	}
	dir := bridge.NewStore(s.start.Root).Path(name)
	l, err := bridge.Open(dir, func(err error) { s.lineChanged(name, err) })
	if err != nil {
		return nil, err
	}
	if s.lines == nil {
		s.lines = lines{}
	}
	s.lines[name] = l
	return l, nil
}

// lineChanged marks the container when a network is cut off, and when it is back.
func (s *supervisor) lineChanged(name string, err error) {
	s.change(func(st *state.Status) {
		if e := endpointOf(st, name); e != nil {
			e.Error = ""
			if err != nil {
				e.Error = err.Error()
			}
		}
	})
	s.onMain(func() {
		if err != nil {
			s.cutPorts(name)
		} else {
			s.follow(name)
		}
	})
}

// cutPorts frees the published ports that a cut network leads to: who connects is
// refused instead of waiting.
func (s *supervisor) cutPorts(name string) {
	if s.wires.served != name || s.bypassing() != 0 || len(s.ports.Mappings()) == 0 {
		return
	}
	s.losePorts()
}

func endpointOf(st *state.Status, name string) *state.Endpoint {
	for i := range st.Networks {
		if st.Networks[i].Name == name {
			return &st.Networks[i]
		}
	}
	return nil
}

// follow records the addresses that a network gave anew, when they are others than
// before, and leads the published ports there. It runs on the main thread.
func (s *supervisor) follow(name string) {
	moved := false
	for _, now := range s.wires.endpoints() {
		s.change(func(st *state.Status) {
			if was := endpointOf(st, name); now.Name == name && was != nil && !slices.Equal(was.Addresses, now.Addresses) {
				*was, moved = now, true
			}
		})
	}
	if moved {
		if err := s.updateEtc(); err != nil {
			fmt.Fprintln(os.Stderr, "bryo:", err)
		}
	}
	if s.wires.served != name || !moved && len(s.ports.Mappings()) > 0 {
		return
	}
	if moved {
		s.wires.served = "" // where they lead is not there any more
	}
	if err := s.movePorts(); err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
		s.change(func(st *state.Status) {
			if e := endpointOf(st, name); e != nil {
				e.Error = err.Error()
			}
		})
	}
}

// join puts the namespace on a network that a user defined; survey knows it.
func (s *supervisor) join(config *state.Config, w *wires, namespace *os.File, n state.Network) (*bridge.Place, error) {
	line, err := s.line(n.Name)
	if err != nil {
		return nil, err
	}
	r := s.requestFor(config, n)
	r.Link = w.freeLink(w.defined[n.Name].LinkPrefix())
	return line.Attach(namespace, r, w.routeVia(config.Host.Networks) == n.Name)
}

// requestFor is what a network is told of the container.
func (s *supervisor) requestFor(c *state.Config, n state.Network) bridge.Request {
	r := bridge.Request{
		ID: c.ID, Name: c.Name, Hostname: hostname(c), Aliases: n.Aliases, IP: n.IP, IP6: n.IP6, MAC: n.MAC, Brief: c.Host.Remove,
	}
	for _, server := range c.Host.DNS {
		if a, err := netip.ParseAddr(strings.TrimSpace(server)); err == nil {
			r.DNS = append(r.DNS, a)
		}
	}
	for _, other := range c.Host.Defined() {
		if other.Name != n.Name {
			r.Others = append(r.Others, other.Name)
		}
	}
	return r
}

// freeLink is the first name that no device of the container has; the default
// network's is eth0, unless it came to a running container (joinDefault).
func (w *wires) freeLink(prefix string) string {
	taken := map[string]bool{w.stackLink: true}
	for _, a := range w.attached {
		if p, ok := a.Attachment.(*bridge.Place); ok {
			taken[p.Link()] = true
		}
	}
	for i := 0; ; i++ {
		if name := fmt.Sprint(prefix, i); !taken[name] {
			return name
		}
	}
}

// routeVia is the network that leads out: the default one, else that of the
// highest priority, else the first that leads anywhere.
func (w *wires) routeVia(list []state.Network) string {
	best := -1
	for i, n := range list {
		switch {
		case n.HasStack():
			return n.Name
		case n.Defined() && w.defined[n.Name].Internal:
		case best < 0 || n.Priority > list[best].Priority:
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return list[best].Name
}

// wayOut is the network that leads out, where published ports come in; the first if
// none does.
func (w *wires) wayOut(list []state.Network) attachment {
	name := w.routeVia(list)
	for _, a := range w.attached {
		if a.name == name {
			return a
		}
	}
	return w.attached[0]
}

// survey looks at the networks of a list before a route is chosen.
func (w *wires) survey(root string, list []state.Network) (err error) {
	w.defined = map[string]*bridge.Config{}
	for _, n := range list {
		if n.Defined() {
			if w.defined[n.Name], err = bridge.NewStore(root).Load(n.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameservers are for the container's resolv.conf: those of networks that users
// defined, which know the names of other containers, first; then the rest.
func (w *wires) nameservers() (list []netip.Addr, defined bool) {
	var inner, last []netip.Addr
	for _, a := range w.attached {
		p, ok := a.Attachment.(*bridge.Place)
		switch {
		case !ok:
			last = append(last, a.DNS()...)
		case p.Internal():
			defined, inner = true, append(inner, p.DNS()...)
		default:
			defined, list = true, append(list, p.DNS()...)
		}
	}
	if len(list) == 0 {
		inner = append(inner, last...)
	}
	list = append(list, inner...)
	if !defined {
		return last, false
	}
	// IPv4 first: three servers is all that a resolver looks at.
	slices.SortStableFunc(list, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return list, true
}

// holdsAny: one of the servers is a machine on the container's own networks, which
// the container itself must ask.
func (w *wires) holdsAny(servers []string) bool {
	for _, text := range servers {
		server, err := netip.ParseAddr(strings.TrimSpace(text))
		for _, a := range w.attached {
			for _, p := range a.Addresses() {
				if err == nil && p.Contains(server) {
					return true
				}
			}
		}
	}
	return false
}

// renamed tells the networks what the container is called now.
func (s *supervisor) renamed(c *state.Config) {
	for _, n := range c.Host.Defined() {
		s.linesMu.Lock()
		l := s.lines[n.Name]
		s.linesMu.Unlock()
		if l != nil {
			_ = l.Rename(s.requestFor(c, n))
		}
	}
}

// rewire brings the running container from its networks to those of the new
// configuration: `network connect` and `disconnect`. It runs on the main thread.
func (s *supervisor) rewire(to *state.Config) error {
	if s.config.Host.Peer() != "" {
		return s.updateEtc() // the other container was rewired
	}
	was, list := s.config.Host.Networks, to.Host.Networks
	if s.wires.namespace == nil || sameNetworks(was, list) {
		return nil
	}
	if err := s.wires.survey(s.start.Root, list); err != nil {
		return err
	}
	for _, n := range list {
		if n.Defined() && !hasNetwork(was, n.Name) {
			p, err := s.join(to, &s.wires, s.wires.namespace, n)
			if err != nil {
				s.hangUp(n.Name) // an open line keeps the network in use
				return err
			}
			s.wires.attached = append(s.wires.attached, attachment{n.Name, p})
		}
	}
	if err := s.joinDefault(was, list); err != nil {
		return err
	}
	s.leave(list)
	s.reroute(list)
	s.mu.Lock()
	s.config, s.mark = to, state.Mark{}
	s.mu.Unlock()
	s.change(func(st *state.Status) { st.Networks = s.wires.endpoints() })
	return errors.Join(s.updateEtc(), s.movePorts())
}

// joinDefault puts the running container on the default network, which is its way out
// from now on.
func (s *supervisor) joinDefault(was, list []state.Network) error {
	for _, n := range list {
		if !n.HasStack() || hasNetwork(was, n.Name) {
			continue
		}
		w := &s.wires
		link := w.freeLink("eth")
		before := w.route()
		if before != nil {
			if err := before.Unroute(); err != nil {
				return err
			}
		}
		config := networkConfig(n)
		config.Device = link
		a, err := network.Default{}.Attach(context.Background(), w.namespace, config)
		if err != nil {
			if before != nil {
				err = errors.Join(err, before.Route())
			}
			return err
		}
		w.stackLink = link
		w.attached = append(w.attached, attachment{n.Name, a})
		s.watch(w.attached[len(w.attached)-1])
	}
	return nil
}

// route is the network of the user's that leads out; nil: none does.
func (w *wires) route() *bridge.Place {
	for _, a := range w.attached {
		if p, ok := a.Attachment.(*bridge.Place); ok && p.Leads() {
			return p
		}
	}
	return nil
}

func sameNetworks(a, b []state.Network) bool {
	return slices.EqualFunc(a, b, func(x, y state.Network) bool { return x.Name == y.Name })
}

func hasNetwork(list []state.Network, name string) bool {
	return slices.ContainsFunc(list, func(n state.Network) bool { return n.Name == name })
}

// leave takes the namespace off the networks that are not in the list.
func (s *supervisor) leave(list []state.Network) {
	kept := s.wires.attached[:0:0]
	for _, a := range s.wires.attached {
		if hasNetwork(list, a.name) {
			kept = append(kept, a)
			continue
		}
		_ = a.Close()
		if _, defined := a.Attachment.(*bridge.Place); !defined {
			s.wires.stackLink = ""
		}
		s.hangUp(a.name)
	}
	s.wires.attached = kept
}

// hangUp ends the connection to a network's helper.
func (s *supervisor) hangUp(name string) {
	s.linesMu.Lock()
	defer s.linesMu.Unlock()
	if l := s.lines[name]; l != nil {
		l.Close()
		delete(s.lines, name)
	}
}

// reroute gives the default route to the network that should have it now, when the
// one that had it is gone.
func (s *supervisor) reroute(list []state.Network) {
	name := s.wires.routeVia(list)
	for _, a := range s.wires.attached {
		if p, ok := a.Attachment.(*bridge.Place); ok && a.name == name {
			_ = p.Route()
		}
	}
}

// peerEtc are the files of the container whose network this one shares.
func (s *supervisor) peerEtc(peer string) etc.Files {
	read := func(name string) []byte {
		data, _ := os.ReadFile(filepath.Join(s.containers.Path(peer), name))
		return data
	}
	return etc.Files{Hosts: read("hosts"), ResolvConf: read("resolv.conf"), Hostname: []byte(hostname(s.config) + "\n")}
}

// hostGateway is the address that stands for the host.
func (w *wires) hostGateway() netip.Addr {
	for _, a := range w.attached {
		if p, ok := a.Attachment.(*bridge.Place); ok {
			if p.HostGateway().IsValid() {
				return p.HostGateway()
			}
		} else if g := a.Gateways(); len(g) > 0 {
			return g[0]
		}
	}
	return netip.Addr{}
}

func wantsHost(entries []string) bool {
	for _, entry := range entries {
		if _, ip, err := etc.ParseAddHost(entry); err == nil && ip == etc.HostGateway {
			return true
		}
	}
	return false
}
