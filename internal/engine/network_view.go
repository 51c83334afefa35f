package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"bryo/internal/state"
	"bryo/network"
)

// InspectNetworkObject is docker's JSON of one network.
type InspectNetworkObject struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string
	Driver     string
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       InspectIPAM
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigFrom struct{ Network string }
	ConfigOnly bool
	Containers map[string]InspectMember
	Options    map[string]string
	Labels     map[string]string
}

// InspectIPAM is how addresses are given out.
type InspectIPAM struct {
	Driver  string
	Options map[string]string
	Config  []InspectPool
}

// InspectPool is one subnet.
type InspectPool struct {
	Subnet     string            `json:",omitempty"`
	IPRange    string            `json:",omitempty"`
	Gateway    string            `json:",omitempty"`
	AuxAddress map[string]string `json:"AuxiliaryAddresses,omitempty"`
}

// InspectMember is a running container on the network.
type InspectMember struct {
	Name        string
	EndpointID  string
	MacAddress  string
	IPv4Address string
	IPv6Address string
}

// InspectNetwork describes a network in docker's terms.
func (e *Engine) InspectNetwork(n *Network) (*InspectNetworkObject, error) {
	out := &InspectNetworkObject{
		Name: n.Name, ID: n.ID, Created: n.Created.UTC(), Scope: "local", Driver: n.Driver, EnableIPv4: n.IPv4, EnableIPv6: n.IPv6,
		Internal: n.Internal, Attachable: n.Attachable, Containers: map[string]InspectMember{},
		Options: orEmpty(n.Options), Labels: orEmpty(n.Labels), IPAM: InspectIPAM{Driver: "default", Options: orEmpty(n.IPAM), Config: pools(n)},
	}
	name := n.stateName()
	users, err := e.networkUsers(name)
	if err != nil {
		return nil, err
	}
	for _, c := range users {
		for _, endpoint := range c.Status.Networks {
			if endpoint.Name == name {
				out.Containers[c.ID] = member(c, n, endpoint)
			}
		}
	}
	return out, nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func pools(n *Network) []InspectPool {
	list := []InspectPool{}
	for _, s := range n.Subnets {
		p := InspectPool{Subnet: s.Prefix.String(), Gateway: s.Gateway.String()}
		if s.Range.IsValid() {
			p.IPRange = s.Range.String()
		}
		for name, a := range s.Aux {
			if p.AuxAddress == nil {
				p.AuxAddress = map[string]string{}
			}
			p.AuxAddress[name] = a.String()
		}
		list = append(list, p)
	}
	if n.Builtin && n.Name == "bridge" {
		prefixes, gateways := network.DefaultSubnets()
		for i, p := range prefixes {
			list = append(list, InspectPool{Subnet: p.Masked().String(), Gateway: gateways[i].String()})
		}
	}
	return list
}

func member(c *Container, n *Network, e state.Endpoint) InspectMember {
	m := InspectMember{Name: c.Name, EndpointID: endpointID(n.ID, c.ID), MacAddress: e.MAC}
	for _, p := range e.Addresses {
		if p.Addr().Is4() {
			m.IPv4Address = p.String()
		} else {
			m.IPv6Address = p.String()
		}
	}
	return m
}

// endpointID names a container's place on a network.
func endpointID(network, container string) string { return derivedID(network, container) }

// derivedID names what has no name of its own by what it belongs to: the same each
// time, without being stored.
func derivedID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}
