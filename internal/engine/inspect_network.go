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
	InspectAddresses
	Networks map[string]InspectEndpoint
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
	// Nothing sets these: they are there for templates.
	Links      []string
	DriverOpts map[string]string
	EndpointID string
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
	for _, n := range c.Host.Networks {
		out.Networks[state.ShownNetwork(n.Name)] = asked(c, n)
	}
	if len(c.Host.Networks) == 0 {
		out.Networks[state.ShownNetwork(c.Host.Network)] = InspectEndpoint{}
	}
	if !c.Running() {
		return out
	}
	out.SandboxKey = fmt.Sprintf("/proc/%d/ns/net", c.Status.Init.PID)
	for i, e := range c.Status.Networks {
		shown := out.Networks[state.ShownNetwork(e.Name)]
		shown.InspectAddresses = inspectAddresses(e)
		out.Networks[state.ShownNetwork(e.Name)] = shown
		if i == 0 {
			out.InspectAddresses = shown.InspectAddresses
		}
	}
	return out
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
