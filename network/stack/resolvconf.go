package stack

import (
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// resolvConf is the host's list of resolvers as it is now: a VPN or another
// network changes it while containers run.
type resolvConf struct {
	path  string
	stamp [4]int64 // of the file that list was read from
	list  []netip.AddrPort
	fixed []netip.AddrPort // instead, in tests
}

// maxServers is MAXNS of glibc's resolver.
const maxServers = 3

// servers returns at least one resolver.
func (r *resolvConf) servers() []netip.AddrPort {
	if r.fixed != nil {
		return r.fixed
	}
	path := r.path
	if path == "" {
		path = "/etc/resolv.conf"
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		st = unix.Stat_t{}
	}
	stamp := [4]int64{int64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
	if r.list == nil || stamp != r.stamp {
		r.stamp, r.list = stamp, readServers(path)
	}
	return r.list
}

// readServers reads the resolvers of a resolv.conf(5). A file without any, or
// none at all, means the one on this host, as everywhere.
func readServers(path string) []netip.AddrPort {
	text, _ := os.ReadFile(path)
	if list := parseServers(string(text)); len(list) > 0 {
		return list
	}
	return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
}

func parseServers(text string) (list []netip.AddrPort) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && len(list) < maxServers {
			list = append(list, netip.AddrPortFrom(a.Unmap(), dnsPort))
		}
	}
	return list
}
