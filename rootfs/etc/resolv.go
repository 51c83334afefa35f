package etc

import (
	"bytes"
	"net/netip"
	"strings"
)

// resolver is what a resolv.conf says; see resolv.conf(5).
type resolver struct {
	nameservers, search, options []string
}

// resolvConf: on the host's network the host's file as it is, else one of our
// own. Every flag replaces what it names, the rest stays as it was.
func (o Options) resolvConf(host []byte) []byte {
	flags := len(o.DNS) > 0 || len(o.Search) > 0 || len(o.Options) > 0
	if o.Network == Host && !flags {
		return host
	}
	r := parseResolver(host)
	switch o.Network {
	case Private:
		r.nameservers = o.reachable(r.nameservers)
	case None:
		r = resolver{} // nobody would answer
	}
	if len(o.DNS) > 0 {
		r.nameservers = o.DNS
	}
	if len(o.Search) > 0 {
		r.search = o.Search
		if len(o.Search) == 1 && o.Search[0] == "." {
			r.search = nil
		}
	}
	if len(o.Options) > 0 {
		r.options = o.Options
	}
	return r.write()
}

// reachable are the nameservers for a network of the container's own: the
// network's, else those of the host that are not the host itself.
func (o Options) reachable(host []string) (servers []string) {
	for _, addr := range o.Nameservers {
		servers = append(servers, addr.String())
	}
	if len(servers) > 0 {
		return servers
	}
	for _, server := range host {
		addr, err := netip.ParseAddr(server)
		if err == nil && !addr.Unmap().IsLoopback() && !addr.IsUnspecified() {
			servers = append(servers, server)
		}
	}
	return servers
}

// parseResolver reads the lines that resolvers agree on. Later search lines
// replace earlier ones, option lines add up.
func parseResolver(data []byte) (r resolver) {
	for line := range strings.Lines(string(data)) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(fields[1]); err == nil {
				r.nameservers = append(r.nameservers, fields[1])
			}
		case "search":
			r.search = fields[1:]
		case "domain":
			r.search = fields[1:2]
		case "options":
			r.options = append(r.options, fields[1:]...)
		}
	}
	return r
}

func (r resolver) write() []byte {
	var b bytes.Buffer
	for _, server := range r.nameservers {
		b.WriteString("nameserver " + strings.TrimSpace(server) + "\n")
	}
	if len(r.search) > 0 {
		b.WriteString("search " + strings.Join(r.search, " ") + "\n")
	}
	if len(r.options) > 0 {
		b.WriteString("options " + strings.Join(r.options, " ") + "\n")
	}
	return b.Bytes()
}
