package dns

import (
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// HostResolvers returns a function that says which the host's resolvers are now: a
// VPN or another network changes them while containers run. There is at least one.
// The path is that of a resolv.conf(5), "" the host's.
func HostResolvers(path string) func() []netip.AddrPort {
	if path == "" {
		path = "/etc/resolv.conf"
	}
	return (&resolvConf{path: path}).servers
}

// resolvConf is the file as it was read last.
type resolvConf struct {
	path string

	mu    sync.Mutex
	stamp [4]int64 // of the file that list was read from
	list  []netip.AddrPort
}

func (r *resolvConf) servers() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	var st unix.Stat_t
	if unix.Stat(r.path, &st) != nil {
		st = unix.Stat_t{}
	}
	stamp := [4]int64{int64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
	if r.list == nil || stamp != r.stamp {
		text, _ := os.ReadFile(r.path)
		r.stamp, r.list = stamp, parseResolvers(string(text))
	}
	return r.list
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
