// Package etc writes the three files of /etc that belong to a container rather
// than to its image: hosts, hostname and resolv.conf.
//
// Start with Make, which is pure: options and the host's own files in, contents
// out. Files.Write puts them into the container's directory, Mounts says how the
// runtime binds them. What becomes a line of a file is checked before (check.go):
// a name with a line break would add entries of its own.
//
// Left out: keeping resolv.conf up to date while a container runs. The user-mode
// network asks the host's resolver at request time and needs no such thing.
package etc

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Network is what the container's network shares with the host, as far as names
// and addresses go.
type Network string

const (
	None    Network = "none"    // loopback only
	Host    Network = "host"    // the host's own network
	Private Network = "private" // any network of the container's own
)

// HostGateway is the word that stands for Options.HostGateway in --add-host.
const HostGateway = "host-gateway"

// Options are the flags and what the network adds to them.
type Options struct {
	Hostname, Domainname string
	Network              Network

	AddHosts    []string     // --add-host, as HOST:IP or HOST=IP
	HostGateway netip.Addr   // the host as the container sees it; may be missing
	Addresses   []netip.Addr // the container's own, with Private
	Aliases     []string     // further names for Addresses

	Nameservers []netip.Addr // the network's resolver, unless DNS says otherwise
	DNS         []string     // --dns
	Search      []string     // --dns-search; "." alone means none
	Options     []string     // --dns-opt
}

// HostFiles are the host's own files, see ReadHost.
type HostFiles struct{ Hosts, ResolvConf []byte }

// Files are the contents for the container.
type Files struct{ Hosts, Hostname, ResolvConf []byte }

// Make checks the options and returns the contents of all three files.
func Make(o Options, host HostFiles) (Files, error) {
	if err := o.check(); err != nil {
		return Files{}, err
	}
	hosts, err := o.hosts(host.Hosts)
	if err != nil {
		return Files{}, err
	}
	return Files{
		Hosts:      hosts,
		Hostname:   []byte(o.Hostname + "\n"),
		ResolvConf: o.resolvConf(host.ResolvConf),
	}, nil
}

// localNames is what docker starts every hosts file with.
const localNames = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

func (o Options) hosts(host []byte) ([]byte, error) {
	var b bytes.Buffer
	if o.Network == Host {
		b.Write(host)
		if len(host) > 0 && host[len(host)-1] != '\n' {
			b.WriteByte('\n')
		}
	} else {
		b.WriteString(localNames)
	}
	for _, entry := range o.AddHosts {
		name, ip, err := ParseAddHost(entry)
		if err != nil {
			return nil, err
		}
		if ip == HostGateway {
			if !o.HostGateway.IsValid() {
				return nil, errors.New("unable to derive the IP value for host-gateway")
			}
			ip = o.HostGateway.String()
		}
		fmt.Fprintf(&b, "%s\t%s\n", ip, name)
	}
	if names := o.ownNames(); names != "" {
		for _, ip := range o.ownAddresses() {
			fmt.Fprintf(&b, "%s\t%s\n", ip, names)
		}
	}
	return b.Bytes(), nil
}

// ownAddresses: without a network the own name still means this machine, or sudo
// and many a test suite wait for a resolver that never answers.
func (o Options) ownAddresses() []netip.Addr {
	if o.Network == None {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return o.Addresses
}

func (o Options) ownNames() string {
	var names []string
	if o.Hostname != "" && o.Domainname != "" {
		names = append(names, o.Hostname+"."+o.Domainname)
	}
	if o.Hostname != "" {
		names = append(names, o.Hostname)
	}
	for _, alias := range o.Aliases {
		if !slices.Contains(names, alias) {
			names = append(names, alias)
		}
	}
	return strings.Join(names, " ")
}
