package engine

import (
	"fmt"

	"bryo/internal/state"
)

// InspectNetwork is docker's NetworkSettings.
type InspectNetwork struct {
	SandboxID  string
	SandboxKey string
	Ports      map[string][]InspectPort
	EndpointID string
	InspectAddresses
	Networks map[string]InspectEndpoint
	// Nothing sets these: they are there for templates.
	Bridge                 string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
}

// InspectAddresses are those of one network.
type InspectAddresses struct {
	Gateway             string
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	MacAddress          string
}

// InspectEndpoint is the container in one network.
type InspectEndpoint struct {
	InspectAddresses
	Aliases    []string
	NetworkID  string
	DNSNames   []string
	IPAMConfig *InspectEndpointIPAM
	GwPriority int
	EndpointID string // while it runs
	// Nothing sets these: they are there for templates.
	Links      []string
	DriverOpts map[string]string
}

// InspectEndpointIPAM are the addresses that the user asked for.
type InspectEndpointIPAM struct {
	IPv4Address  string   `json:",omitempty"`
	IPv6Address  string   `json:",omitempty"`
	LinkLocalIPs []string `json:",omitempty"`
}

// asked is what the user wanted of a network.
func asked(c *Container, n state.Network) (out InspectEndpoint) {
	if !n.Defined() {
		out.NetworkID = builtinID(state.ShownNetwork(n.Name))
		return out
	}
	out.NetworkID, out.Aliases, out.GwPriority = n.ID, n.Aliases, n.Priority
	out.DNSNames = append(append([]string{c.Name}, n.Aliases...), c.ID[:12])
	if n.IP.IsValid() || n.IP6.IsValid() {
		out.IPAMConfig = &InspectEndpointIPAM{}
		if n.IP.IsValid() {
			out.IPAMConfig.IPv4Address = n.IP.String()
		}
		if n.IP6.IsValid() {
			out.IPAMConfig.IPv6Address = n.IP6.String()
		}
	}
	return out
}

// inspectNetworks shows what a running container has, and the bare names of the
// networks of one that does not run. The default network has no link-layer
// addresses: its MacAddress is empty.
func inspectNetworks(c *Container) InspectNetwork {
	out := InspectNetwork{Ports: inspectPorts(c), Networks: map[string]InspectEndpoint{}}
	for _, n := range networksOf(c) {
		out.Networks[state.ShownNetwork(n.Name)] = asked(c, n)
	}
	if !c.Running() {
		return out
	}
	for name, shown := range out.Networks {
		shown.EndpointID = endpointID(shown.NetworkID, c.ID)
		out.Networks[name] = shown
	}
	if c.Host.Peer() == "" {
		out.SandboxID = derivedID("sandbox", c.ID)
		out.SandboxKey = fmt.Sprintf("/proc/%d/ns/net", c.Status.Init.PID)
	}
	for i, e := range c.Status.Networks {
		shown, ok := out.Networks[state.ShownNetwork(e.Name)]
		if !ok {
			continue
		}
		shown.InspectAddresses = inspectAddresses(e)
		out.Networks[state.ShownNetwork(e.Name)] = shown
		if i == 0 {
			out.InspectAddresses, out.EndpointID = shown.InspectAddresses, shown.EndpointID
		}
	}
	return out
}

// networksOf lists what the container is attached to. In the namespace of another
// one it is attached to nothing itself.
func networksOf(c *Container) []state.Network {
	switch {
	case c.Host.Peer() != "":
		return nil
	case len(c.Host.Networks) == 0:
		return []state.Network{{Name: c.Host.Network}}
	}
	return c.Host.Networks
}

func inspectAddresses(e state.Endpoint) (out InspectAddresses) {
	out.MacAddress = e.MAC
	for _, p := range e.Addresses {
		if p.Addr().Is4() {
			out.IPAddress, out.IPPrefixLen = p.Addr().String(), p.Bits()
		} else {
			out.GlobalIPv6Address, out.GlobalIPv6PrefixLen = p.Addr().String(), p.Bits()
		}
	}
	for _, g := range e.Gateways {
		if g.Is4() {
			out.Gateway = g.String()
		} else {
			out.IPv6Gateway = g.String()
		}
	}
	return out
}
