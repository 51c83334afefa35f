package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/state"
	"bryo/rootfs/etc"
)

// networkOf reads the flags that say how a container is connected.
func networkOf(c *cli.Context, r *engine.RunRequest) error {
	h := &r.Host
	h.AddHosts, h.DNS = c.StringSlice("add-host"), c.StringSlice("dns")
	h.DNSSearch, h.DNSOptions = c.StringSlice("dns-search"), c.StringSlice("dns-option")
	if err := checkNames(h); err != nil {
		return err
	}
	modes := c.StringSlice("network")
	if len(modes) == 0 {
		modes = []string{state.NetworkDefault}
	}
	for _, text := range modes {
		if strings.TrimSpace(text) == "" {
			return usageError("no name set for network")
		}
		n, err := state.ParseNetwork(text)
		if err != nil {
			return badValue(text, "--network", err)
		}
		h.Networks = append(h.Networks, n)
	}
	h.Network = h.Networks[0].Name
	if err := endpointFlags(c, &h.Networks[0]); err != nil {
		return err
	}
	if err := checkModes(c, h.Networks); err != nil {
		return err
	}
	if wantsHost(h.AddHosts) && (h.Network == state.NetworkDefault || h.Network == state.NetworkBypass) {
		// A name for the host is asked for to reach it.
		h.Networks[0].HostLoopback = true
	}
	return nil
}

// checkNames refuses before anything is pulled or made what no start could write into
// the container's files. The words are docker's.
func checkNames(h *state.Host) error {
	for _, f := range []struct {
		flag   string
		values []string
		check  func(string) error
	}{
		{"add-host", h.AddHosts, func(entry string) error { _, _, err := etc.ParseAddHost(entry); return err }},
		{"dns", h.DNS, etc.CheckDNS}, {"dns-search", h.DNSSearch, etc.CheckSearch}, {"dns-option", h.DNSOptions, etc.CheckDNSOption},
	} {
		for _, value := range f.values {
			if err := f.check(value); err != nil {
				return badValue(value, "--"+f.flag, err)
			}
		}
	}
	for _, err := range []error{etc.CheckHostname(h.Hostname), etc.CheckDomainname(h.Domainname)} {
		if err != nil {
			return usageError(err.Error())
		}
	}
	return nil
}

// endpointFlags reads the flags that say what the container has on its first
// network.
func endpointFlags(c *cli.Context, n *state.Network) error {
	for _, f := range []struct {
		flag, what string
		given      bool
	}{
		{"network-alias", "alias", len(n.Aliases) > 0}, {"ip", "IPv4 address", n.IP.IsValid()},
		{"ip6", "IPv6 address", n.IP6.IsValid()}, {"mac-address", "MAC address", n.MAC != ""},
	} {
		if f.given && c.IsSet(f.flag) {
			return usageError(fmt.Sprintf("conflicting options: cannot specify both --%s and per-network %s", f.flag, f.what))
		}
	}
	for _, alias := range c.StringSlice("network-alias") {
		n.Aliases = append(n.Aliases, strings.ToLower(alias))
	}
	if text := c.String("mac-address"); text != "" {
		var err error
		if n.MAC, err = state.ParseMAC(text); err != nil {
			return usageError(err.Error())
		}
	}
	return addressFlags(c, n)
}

// checkModes refuses what does not go together, in docker's words.
func checkModes(c *cli.Context, list []state.Network) error {
	first := list[0]
	for i, n := range list {
		switch {
		case len(list) > 1 && !n.Defined() && (n.Name != state.NetworkBypass || i > 0):
			return usageError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
		case n.Defined():
			for _, alias := range n.Aliases {
				if etc.CheckHostname(alias) != nil {
					return usageError(fmt.Sprintf("invalid network alias: %q", alias))
				}
			}
		case n.IP.IsValid() || n.IP6.IsValid():
			return usageError("invalid config for network " + state.ShownNetwork(n.Name) + ": user specified IP address is supported on user defined networks only")
		case len(n.Aliases) > 0:
			return usageError("invalid config for network " + state.ShownNetwork(n.Name) + ": network-scoped aliases are only supported for user-defined networks")
		case n.MAC != "":
			return usageError("--mac-address is for networks that a user defined: the default one has no hardware addresses")
		}
	}
	if !strings.HasPrefix(first.Name, state.NetworkContainer) {
		return nil
	}
	for _, f := range []struct{ flag, what string }{
		{"hostname", "hostname and the network mode"}, {"dns", "dns and the network mode"},
		{"add-host", "custom host-to-IP mapping and the network mode"},
		{"publish", "port publishing and the container type network mode"},
		{"publish-all", "port publishing and the container type network mode"},
		{"expose", "port exposing and the container type network mode"},
		{"userns", "user namespace and the container type network mode"},
	} {
		if c.IsSet(f.flag) {
			return usageError("conflicting options: " + f.what)
		}
	}
	return nil
}

// wantsHost: one of the --add-host entries names the host.
func wantsHost(entries []string) bool {
	for _, entry := range entries {
		if _, ip, err := etc.ParseAddHost(entry); err == nil && ip == etc.HostGateway {
			return true
		}
	}
	return false
}

// networkNames is a container's NETWORKS column.
func networkNames(c *engine.Container) string {
	var names []string
	for _, n := range c.Host.Networks {
		names = append(names, state.ShownNetwork(n.Name))
	}
	if names == nil {
		return state.ShownNetwork(c.Host.Network)
	}
	return strings.Join(names, ",")
}

// matchesNetwork: docker's filter, by any name that --network takes.
func matchesNetwork(c *engine.Container, wanted []string) bool {
	if len(wanted) == 0 {
		return true
	}
	for _, text := range wanted {
		n, err := state.ParseNetwork(text)
		for name := range strings.SplitSeq(networkNames(c), ",") {
			if err == nil && name == state.ShownNetwork(n.Name) {
				return true
			}
		}
	}
	return false
}
