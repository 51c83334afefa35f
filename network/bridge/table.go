package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bryo/network/stack"
)

// endpoint is one container on the network.
type endpoint struct {
	request   Request
	addresses []netip.Prefix
	mac       net.HardwareAddr
	port      int
	inlets    map[int]func() // how to stop them
}

func (e *endpoint) stop(id int) {
	if stop := e.inlets[id]; stop != nil {
		stop()
		delete(e.inlets, id)
	}
}

// link is the name of the bridge's end.
func (e *endpoint) link() string { return fmt.Sprintf("port%d", e.port) }

// table is who is on the network, and who was: an address is not given to another
// container while the one that had it exists and there are others.
type table struct {
	config    *Config
	dir       string
	endpoints []*endpoint
	byAddress map[netip.Addr]*endpoint
	names     map[string][]netip.Addr
	leases    map[string][]netip.Addr // by container id
}

func newTable(c *Config, dir string) table {
	t := table{config: c, dir: dir, leases: map[string][]netip.Addr{}}
	if data, err := os.ReadFile(filepath.Join(dir, "leases.json")); err == nil {
		_ = json.Unmarshal(data, &t.leases) // damaged: all is free
	}
	t.index()
	return t
}

// index makes the look-ups anew: there are few containers and fewer changes.
func (t *table) index() {
	t.byAddress, t.names = map[netip.Addr]*endpoint{}, map[string][]netip.Addr{}
	for _, e := range t.endpoints {
		for _, p := range e.addresses {
			t.byAddress[p.Addr()] = e
		}
		for _, name := range e.names() {
			for _, full := range []string{name, name + "." + strings.ToLower(t.config.Name)} {
				for _, p := range e.addresses {
					if !slices.Contains(t.names[full], p.Addr()) {
						t.names[full] = append(t.names[full], p.Addr())
					}
				}
			}
		}
	}
}

// names: container name, id whole and short, host name, aliases.
func (e *endpoint) names() []string {
	r := e.request
	list := append([]string{r.Name, r.ID, r.Hostname}, r.Aliases...)
	if len(r.ID) > 12 {
		list = append(list, r.ID[:12])
	}
	out := list[:0]
	for _, name := range list {
		if name = strings.ToLower(name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// of finds a container's endpoint.
func (t *table) of(id string) *endpoint {
	for _, e := range t.endpoints {
		if e.request.ID == id {
			return e
		}
	}
	return nil
}

// add gives a container its addresses, one of each family.
func (t *table) add(r Request) (*endpoint, error) {
	if r.Link == "" || len(r.Link) > 15 {
		return nil, errors.New("attach: no name for the device")
	}
	e := &endpoint{request: r, inlets: map[int]func(){}}
	if r.IP.IsValid() {
		if err := t.claim(e, r.IP); err != nil {
			return nil, err
		}
	}
	if r.IP6.IsValid() {
		if err := t.claim(e, r.IP6); err != nil {
			return nil, err
		}
	}
	for _, v4 := range []bool{true, false} {
		if err := t.assign(e, v4); err != nil {
			return nil, err
		}
	}
	e.mac = hardwareAddress(e.addresses[0].Addr())
	if r.MAC != "" {
		mac, err := net.ParseMAC(r.MAC)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return nil, fmt.Errorf("invalid MAC address %s", r.MAC)
		}
		e.mac = mac
	}
	t.endpoints = append(t.endpoints, e)
	t.index()
	t.lease(e)
	return e, nil
}

// claim takes the address that the user asked for.
func (t *table) claim(e *endpoint, a netip.Addr) error {
	s, ok := t.config.Find(a)
	if !ok {
		return fmt.Errorf("invalid config for network %s: no configured subnet contains IP address %s", t.config.Name, a)
	}
	if !s.pool().Usable(a) || t.taken(s, a) {
		return fmt.Errorf("address %s: Address already in use", a)
	}
	e.addresses = append(e.addresses, netip.PrefixFrom(a, s.Prefix.Bits()))
	return nil
}

// assign finds an address of a family: the last one of this container, else one
// that nobody has or had, else one that nobody has.
func (t *table) assign(e *endpoint, v4 bool) error {
	for _, p := range e.addresses {
		if p.Addr().Is4() == v4 {
			return nil
		}
	}
	found := false
	for _, s := range t.config.Subnets {
		if s.Prefix.Addr().Is4() != v4 {
			continue
		}
		found = true
		if a, ok := t.pick(e, s); ok {
			e.addresses = append(e.addresses, netip.PrefixFrom(a, s.Prefix.Bits()))
			return nil
		}
	}
	if found {
		return errors.New("no available IP addresses on this network's address pools")
	}
	return nil
}

func (t *table) pick(e *endpoint, s Subnet) (netip.Addr, bool) {
	for _, a := range append(append([]netip.Addr(nil), e.request.Last...), t.leases[e.request.ID]...) {
		if s.pool().Usable(a) && !t.taken(s, a) && !t.kept(e.request.ID, a) {
			return a, true
		}
	}
	a, ok := s.pool().Next(func(a netip.Addr) bool { return !t.taken(s, a) && !t.kept(e.request.ID, a) })
	if !ok {
		a, ok = s.pool().Next(func(a netip.Addr) bool { return !t.taken(s, a) })
	}
	return a, ok
}

// taken: the gateway, an auxiliary address, or a running container's.
func (t *table) taken(s Subnet, a netip.Addr) bool {
	if a == s.Gateway || t.byAddress[a] != nil {
		return true
	}
	for _, x := range s.Aux {
		if x == a {
			return true
		}
	}
	return false
}

// kept: another container that exists had it last.
func (t *table) kept(id string, a netip.Addr) bool {
	for other, list := range t.leases {
		if other == id || !slices.Contains(list, a) {
			continue
		}
		if t.exists(other) {
			return true
		}
		delete(t.leases, other)
	}
	return false
}

// exists: the container is in the data root that this network is in.
func (t *table) exists(id string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(t.dir)), "containers", filepath.Base(id)))
	return err == nil
}

// lease remembers who has which address.
func (t *table) lease(e *endpoint) {
	var list []netip.Addr
	for _, p := range e.addresses {
		list = append(list, p.Addr())
	}
	if slices.Equal(t.leases[e.request.ID], list) {
		return
	}
	for other := range t.leases {
		if !t.exists(other) {
			delete(t.leases, other)
		}
	}
	t.leases[e.request.ID] = list
	t.save()
}

// save: without the file a container may get another address after a restart,
// which no start should fail for.
func (t *table) save() { _ = writeJSON(filepath.Join(t.dir, "leases.json"), t.leases, false) }

func (t *table) remove(e *endpoint) {
	at := slices.Index(t.endpoints, e)
	if at < 0 {
		return
	}
	t.endpoints = slices.Delete(t.endpoints, at, at+1)
	t.index()
	if e.request.Brief {
		delete(t.leases, e.request.ID)
		t.save()
	}
}

// describe is what a supervisor is told of its place.
func (t *table) describe(e *endpoint, warning string) *Attached {
	a := &Attached{
		Addresses: e.addresses, MAC: e.mac.String(), Link: e.request.Link,
		Internal: t.config.Internal, Warning: warning,
	}
	if t.config.HostLoopback() && !t.config.Internal {
		if a.Host = stack.RouterHost4; !t.config.IPv4 {
			a.Host = stack.RouterHost6
		}
	}
	for _, p := range e.addresses {
		s, _ := t.config.Find(p.Addr())
		a.Gateways = append(a.Gateways, s.Gateway)
	}
	return a
}

// users lists the containers as docker's refusal does.
func (t *table) users() string {
	var list []string
	for _, e := range t.endpoints {
		id := e.request.ID
		list = append(list, fmt.Sprintf("name:%q id:%q", e.request.Name, id[:min(12, len(id))]))
	}
	return strings.Join(list, ", ")
}
