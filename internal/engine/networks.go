package engine

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bryo/internal/events"
	"bryo/internal/format"
	"bryo/internal/state"
	"bryo/internal/supervisor"
	"bryo/network/bridge"
)

// Network is one as it stands: a user's, or one of the modes that need no making.
type Network struct {
	*bridge.Config
	Driver  string
	Builtin bool
}

// stateName is what containers' records call it.
func (n *Network) stateName() string {
	if n.Builtin && n.Name == "bridge" {
		return state.NetworkDefault
	}
	return n.Name
}

func (e *Engine) networks() *bridge.Store { return bridge.NewStore(e.Root) }

// CreateNetwork makes a network.
func (e *Engine) CreateNetwork(o bridge.CreateOptions) (*bridge.Config, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	c, err := e.networks().Create(o)
	if err == nil {
		e.announceNetwork("create", c, nil)
	}
	return c, err
}

// Networks lists all of them by name.
func (e *Engine) Networks() (list []*Network, err error) {
	configs, err := e.networks().List()
	if err != nil {
		return nil, err
	}
	for _, c := range configs {
		list = append(list, &Network{Config: c, Driver: bridge.Driver})
	}
	return append(list, builtin()...), nil
}

// builtin are docker's three, under its names.
func builtin() []*Network {
	make := func(name, driver string, v4, v6 bool) *Network {
		c := &bridge.Config{ID: builtinID(name), Name: name, IPv4: v4, IPv6: v6}
		return &Network{Config: c, Driver: driver, Builtin: true}
	}
	return []*Network{make("bridge", "bridge", true, true), make("host", "host", true, false), make("none", "null", true, false)}
}

// builtinID is the ID of a network that needs no making.
func builtinID(name string) string { return derivedID("network ", name) }

// Network finds one by name, ID or a unique beginning of the ID.
func (e *Engine) Network(key string) (*Network, error) {
	for _, n := range builtin() {
		if key == n.Name || key == state.NetworkDefault && n.Name == "bridge" || len(key) >= 3 && strings.HasPrefix(n.ID, key) {
			return n, nil
		}
	}
	c, err := e.networks().Find(key)
	if err != nil {
		return nil, err
	}
	return &Network{Config: c, Driver: bridge.Driver}, nil
}

// RemoveNetwork deletes one that no running container is on.
func (e *Engine) RemoveNetwork(key string) error {
	defer e.networks().Sweep() // as every change of networks
	n, err := e.Network(key)
	if err != nil {
		return err
	}
	if n.Builtin {
		return fmt.Errorf("%s is a pre-defined network and cannot be removed", n.Name)
	}
	// The helper knows who is on it; without one, the containers' own records do.
	if users, err := e.networkUsers(n.Name); err != nil {
		return err
	} else if len(users) > 0 {
		return activeError(n.Name, users)
	}
	done := e.promise([]events.Event{networkEvent("destroy", n.Config, nil)})
	err = e.networks().Remove(n.Config)
	if err == nil {
		e.announceNetwork("destroy", n.Config, nil)
	}
	done(err)
	return err
}

func activeError(name string, users []*Container) error {
	var list []string
	for _, c := range users {
		list = append(list, fmt.Sprintf("name:%q id:%q", c.Name, c.ID[:12]))
	}
	return fmt.Errorf("error while removing network: network %s has active endpoints (%s)", name, strings.Join(list, ", "))
}

// networkUsers are the running containers on a network.
func (e *Engine) networkUsers(name string) (users []*Container, err error) {
	all, err := e.Containers()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Broken != nil || !c.Running() && c.Status.Phase != state.Restarting {
			continue
		}
		for _, endpoint := range c.Status.Networks {
			if endpoint.Name == name {
				users = append(users, c)
			}
		}
	}
	return users, nil
}

// PruneNetworks removes the networks that no running container is on.
func (e *Engine) PruneNetworks(filters format.Filters) (removed []string, err error) {
	defer e.networks().Sweep()
	list, err := e.networks().List()
	if err != nil {
		return nil, err
	}
	var until time.Time
	for _, value := range filters["until"] {
		if until, err = format.Time(value, time.Now()); err != nil {
			return nil, err
		}
	}
	for _, c := range list {
		if !until.IsZero() && c.Created.After(until) || !filters.MatchesLabels(c.Labels) {
			continue
		}
		// One that is in use is not unused: no error.
		if e.RemoveNetwork(c.Name) == nil {
			removed = append(removed, c.Name)
		}
	}
	return removed, nil
}

// resolveNetworks turns what the user typed into networks that exist.
func (e *Engine) resolveNetworks(h *state.Host) error {
	if peer := h.Peer(); peer != "" {
		c, err := e.Container(peer)
		if err != nil {
			return err
		}
		h.Network = state.NetworkContainer + c.ID
		if h.Hostname = c.Host.Hostname; h.Hostname == "" {
			h.Hostname = c.ID[:12]
		}
		h.Networks = []state.Network{{Name: h.Network}}
		return nil
	}
	for i := range h.Networks {
		n := &h.Networks[i]
		if !n.Defined() {
			continue
		}
		c, err := e.networks().Find(n.Name)
		if err != nil {
			return err
		}
		n.Name, n.ID = c.Name, c.ID
		if err := checkAddresses(c, *n); err != nil {
			return err
		}
		for _, other := range h.Networks[:i] {
			if other.Name == n.Name {
				return fmt.Errorf("network %q is specified multiple times", n.Name)
			}
		}
	}
	if len(h.Networks) > 0 {
		h.Network = h.Networks[0].Name
	}
	return nil
}

// reload has a running container's supervisor follow its new configuration.
func (e *Engine) reload(c *Container) error {
	_, err := e.ask(c, supervisor.Message{Reload: true})
	return err
}

// checkAddresses: docker's rules for --ip and --ip6.
func checkAddresses(c *bridge.Config, n state.Network) error {
	for _, address := range []netip.Addr{n.IP, n.IP6} {
		if !address.IsValid() {
			continue
		}
		s, ok := c.Find(address)
		configured := slices.ContainsFunc(c.Subnets, func(s bridge.Subnet) bool {
			return s.Prefix.Addr().Is4() == address.Is4() && !s.Auto
		})
		switch {
		case !configured:
			return fmt.Errorf("invalid config for network %s: invalid endpoint settings: user specified IP address is supported only when connecting to networks with user configured subnets", c.Name)
		case !ok || s.Auto:
			return fmt.Errorf("invalid config for network %s: invalid endpoint settings: no configured subnet contains IP address %s", c.Name, address)
		}
	}
	return nil
}

// holdNetworks sees to it that the helpers of the container's networks run until
// its supervisor has reached them.
func (e *Engine) holdNetworks(h *state.Host) (release func(), err error) {
	var holds []*bridge.Hold
	release = func() {
		for _, hold := range holds {
			hold.Release()
		}
		holds = nil
	}
	for _, n := range h.Defined() {
		if _, err := e.networks().Load(n.Name); err != nil {
			release()
			return nil, err
		}
		hold, err := bridge.Ensure(e.networks().Path(n.Name))
		if err != nil {
			release()
			return nil, err
		}
		holds = append(holds, hold)
	}
	return release, nil
}

// Errors of connect and disconnect, docker's words.
var (
	errHostNetwork = errors.New("container cannot be disconnected from host network or connected to host network")
	errShared      = errors.New("container sharing network namespace with another container or host cannot be connected to any other network")
	errPrivate     = errors.New("container cannot be connected to multiple networks with one of the networks in private (none) mode")
)

// ConnectNetwork puts a container, running or not, on a network.
func (e *Engine) ConnectNetwork(c *Container, wanted state.Network) error {
	n, err := e.Network(wanted.Name)
	if err != nil {
		return err
	}
	switch {
	case n.Builtin && n.Name == "host":
		return errHostNetwork
	case c.Host.Network == state.NetworkHost, c.Host.Peer() != "":
		return errShared
	case n.Builtin && n.Name == "none", c.Host.Network == state.NetworkNone:
		return errPrivate
	}
	if wanted.Name, wanted.ID = n.Name, n.ID; n.Builtin {
		wanted.Name, wanted.ID = state.NetworkDefault, ""
	} else if err := checkAddresses(n.Config, wanted); err != nil {
		return err
	}
	return e.changeNetworks(c, "connect", n, func(list []state.Network) ([]state.Network, error) {
		for _, have := range list {
			if have.Name == wanted.Name {
				return nil, fmt.Errorf("endpoint with name %s already exists in network %s", c.Name, n.Name)
			}
			if have.Name == state.NetworkBypass && n.Builtin {
				return nil, errors.New("container on the bypass network has the default one's way out already")
			}
		}
		if len(list) == 1 && list[0].Name == state.NetworkNone {
			list = nil // it was taken off its last one
		}
		return append(list[:len(list):len(list)], wanted), nil
	})
}

// DisconnectNetwork takes a container off a network.
func (e *Engine) DisconnectNetwork(c *Container, key string) error {
	n, err := e.Network(key)
	if err != nil {
		return err
	}
	if c.Host.Network == state.NetworkHost {
		return errHostNetwork
	}
	name := n.stateName()
	return e.changeNetworks(c, "disconnect", n, func(list []state.Network) (kept []state.Network, err error) {
		for _, have := range list {
			if have.Name != name {
				kept = append(kept, have)
			}
		}
		if len(kept) == len(list) {
			return nil, fmt.Errorf("container %s is not connected to network %s", c.ID, n.Name)
		}
		if len(kept) == 0 {
			kept = []state.Network{{Name: state.NetworkNone}}
		}
		return kept, nil
	})
}

// changeNetworks writes the container's new list of networks and has its
// supervisor follow it; when that fails, the old list is true again.
func (e *Engine) changeNetworks(c *Container, action string, n *Network, change func([]state.Network) ([]state.Network, error)) error {
	unlock, err := e.containers().Lock(c.ID)
	if err != nil {
		return err
	}
	defer unlock()
	fresh := e.read(c.ID)
	if fresh.Broken != nil {
		return fresh.Broken
	}
	old := fresh.Host.Networks
	if fresh.Host.Networks, err = change(old); err != nil {
		return err
	}
	release, err := e.holdNetworks(&fresh.Host)
	if err != nil {
		return err
	}
	defer release()
	if err := e.containers().Save(fresh.Config); err != nil {
		return err
	}
	if fresh.Running() {
		if err := e.reload(fresh); err != nil {
			fresh.Host.Networks = old
			return errors.Join(err, e.containers().Save(fresh.Config))
		}
		if err := e.tellGuests(c.ID); err != nil {
			return err
		}
	}
	e.announceNetwork(action, n.Config, map[string]string{"container": c.ID})
	return nil
}

// tellGuests has the containers that share one's network write their files in /etc
// anew.
func (e *Engine) tellGuests(id string) error {
	list, err := e.Containers()
	for _, c := range list {
		if c.Broken != nil || c.Host.Peer() != id || !c.Running() {
			continue
		}
		if failed := e.reload(c); failed != nil && !errors.Is(failed, errNotRunning) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// announceNetwork records an event of a network.
func (e *Engine) announceNetwork(action string, c *bridge.Config, more map[string]string) {
	events.Append(e.Root, networkEvent(action, c, more))
}

func networkEvent(action string, c *bridge.Config, more map[string]string) events.Event {
	attributes := map[string]string{"name": c.Name, "type": bridge.Driver}
	maps.Copy(attributes, more)
	return events.Event{Type: events.Network, Action: action, Actor: events.Actor{ID: c.ID, Attributes: attributes}}
}
