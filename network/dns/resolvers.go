package dns

import (
	"net/netip"
	"os"
	"strings"
)

// HostResolvers returns a function that reads the host's resolvers anew at every
// call: a VPN or another network changes them while containers run. The path is
// that of a resolv.conf(5), "" the host's.
func HostResolvers(path string) func() []netip.AddrPort {
	if path == "" {
		path = "/etc/resolv.conf"
	}
	return func() []netip.AddrPort {
		text, _ := os.ReadFile(path)
		return parseResolvers(string(text))
	}
}

const (
	port = 53
	// maxServers is MAXNS of glibc's resolver.
	maxServers = 3
)

// parseResolvers: a file without any means the one on this host, as everywhere.
func parseResolvers(text string) (list []netip.AddrPort) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	if list == nil {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	return list
}
