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
	modes := c.StringSlice("network")
	if len(modes) == 0 {
		modes = []string{state.NetworkDefault}
	}
	if len(modes) > 1 {
		return usageError("--network: more than one network is not supported yet")
	}
	for _, text := range modes {
		n, err := state.ParseNetwork(text)
		if err != nil {
			return usageError(err.Error())
		}
		switch n.Name {
		case state.NetworkDefault, state.NetworkNone, state.NetworkHost, state.NetworkBypass:
		default:
			return usageError(fmt.Sprintf("network %s not found", printable(n.Name)))
		}
		h.Networks = append(h.Networks, n)
	}
	h.Network = h.Networks[0].Name
	if wantsHost(h.AddHosts) && (h.Network == state.NetworkDefault || h.Network == state.NetworkBypass) {
		// A name for the host is asked for to reach it.
		h.Networks[0].HostLoopback = true
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
