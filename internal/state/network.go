package state

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Network modes. Every other name is a network that a user defined.
const (
	NetworkDefault = "default" // the user-mode stack
	NetworkNone    = "none"
	NetworkHost    = "host"
	NetworkBypass  = "bypass" // the default one, with sockets of the host where they lead out

	NetworkContainer = "container:" // and the id of another container
)

// DefaultNetworkID is what inspect and events call the default network.
const DefaultNetworkID = "4bab106e9b34ca3c822a8fa3c08106fa082f28b3573da7d2aa50593a2cb38f4b"

// Network is one network that a container is to be attached to, as asked for.
type Network struct {
	Name string `json:"name"`

	// Of the default network, and of bypass:
	HostLoopback bool `json:"hostLoopback,omitempty"` // the gateway is the host's loopback
	Metadata     bool `json:"metadata,omitempty"`     // link-local and metadata addresses
	MTU          int  `json:"mtu,omitempty"`

	// Of networks that a user defined:
	ID       string     `json:"id,omitempty"` // of the network, as it was when the container was made
	Aliases  []string   `json:"aliases,omitempty"`
	IP       netip.Addr `json:"ip,omitzero"`
	IP6      netip.Addr `json:"ip6,omitzero"`
	MAC      string     `json:"mac,omitempty"`
	Priority int        `json:"priority,omitempty"` // the highest has the default route
}

// Defined: a network that a user made, not one of the modes.
func (n Network) Defined() bool {
	switch n.Name {
	case NetworkDefault, NetworkNone, NetworkHost, NetworkBypass:
		return false
	}
	return !strings.HasPrefix(n.Name, NetworkContainer)
}

// Defined are the networks of the container that a user made.
func (h *Host) Defined() (list []Network) {
	for _, n := range h.Networks {
		if n.Defined() {
			list = append(list, n)
		}
	}
	return list
}

// Peer is the id of the container whose network namespace this one shares; "": it
// has its own.
func (h *Host) Peer() string {
	id, ok := strings.CutPrefix(h.Network, NetworkContainer)
	if !ok {
		return ""
	}
	return id
}

// Endpoint is what a running container has on one network.
type Endpoint struct {
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses,omitempty"` // at most one per family
	Gateways  []netip.Addr   `json:"gateways,omitempty"`
	DNS       []netip.Addr   `json:"dns,omitempty"` // for the container's resolv.conf
	MAC       string         `json:"mac,omitempty"`
	Link      string         `json:"link,omitempty"`
	Error     string         `json:"error,omitempty"` // why it is cut off
}

// OwnNetwork: the container has a network namespace that is not the host's.
func (h *Host) OwnNetwork() bool { return h.Network != NetworkHost }

// HasStack: the network is the user-mode stack's device, eth0, and leads out.
func (n Network) HasStack() bool { return n.Name == NetworkDefault || n.Name == NetworkBypass }

// ShownNetwork is a network's name in listings: docker's for the default one.
func ShownNetwork(name string) string {
	if name == NetworkDefault {
		return "bridge"
	}
	return name
}

// ParseNetwork reads one --network: a name, and for the default network options
// behind a colon. "bridge" is what docker calls its default.
func ParseNetwork(text string) (Network, error) {
	name, options, given := strings.Cut(text, ":")
	if key, _, ok := strings.Cut(text, "="); ok && !strings.Contains(key, ":") {
		return parseLongNetwork(text)
	}
	if name == "" || name == "bridge" {
		name = NetworkDefault
	}
	if name+":" == NetworkContainer && given {
		if options == "" {
			return Network{}, errors.New("invalid container format container:<name|id>")
		}
		return Network{Name: text}, nil
	}
	n := Network{Name: name}
	if !given {
		return n, nil
	}
	if name != NetworkDefault && name != NetworkBypass {
		return n, fmt.Errorf("network %s: takes no options", name)
	}
	for option := range strings.SplitSeq(options, ",") {
		if err := n.option(option); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Bounds of an MTU: IPv6's smallest link (RFC 8200 section 5), and what a packet's
// length field can say.
const (
	minMTU = 1280
	maxMTU = 65535
)

func (n *Network) option(text string) error {
	key, value, hasValue := strings.Cut(text, "=")
	switch {
	case key == "host-loopback" && !hasValue:
		n.HostLoopback = true
	case key == "metadata" && !hasValue:
		n.Metadata = true
	case key == "mtu" && hasValue:
		mtu, err := strconv.Atoi(value)
		if err != nil || mtu < minMTU || mtu > maxMTU {
			return fmt.Errorf("network %s: mtu=%q: not a number from %d to %d", n.Name, value, minMTU, maxMTU)
		}
		n.MTU = mtu
	default:
		return fmt.Errorf("network %s: no such option %q: there are host-loopback, metadata, mtu=N", n.Name, text)
	}
	return nil
}
