// Package port publishes ports of a container on the host.
//
// A Mapping is one published port; Parse reads docker's syntax. Open listens on
// the host for all of a container's mappings, before anything of the container
// runs, and Set.Serve connects what arrives with the container's network.
//
// TCP is relayed by splice(2) between the host's connection and a socket made in
// the container's network namespace, which takes the client's own address
// (inside.go): the program inside sees who is there. Datagrams pass through the
// container's user-mode stack, for the same reason.
//
// A restart keeps the listening sockets: connections wait in their queues. They
// are gone with the process that holds them.
package port

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Protocols.
const (
	TCP = "tcp"
	UDP = "udp"
)

// A Mapping publishes one port of the container. As asked for, HostIP may be
// missing (all of the host's addresses), First and Last zero (any port) or a
// range to choose from; as opened, HostIP is there and First is the port.
type Mapping struct {
	HostIP      netip.Addr `json:"hostIP,omitzero"`
	First, Last uint16     `json:",omitempty"`
	Port        uint16     `json:"port"` // in the container
	Protocol    string     `json:"protocol"`
}

// Container is the container's side: "80/tcp".
func (m Mapping) Container() string { return strconv.Itoa(int(m.Port)) + "/" + m.Protocol }

// Host is the host's side: "0.0.0.0:8080", "[::]:8080".
func (m Mapping) Host() string { return netip.AddrPortFrom(m.HostIP, m.First).String() }

// HostPort is the host's port or range as the user gave it; "": any.
func (m Mapping) HostPort() string {
	switch {
	case m.First == 0:
		return ""
	case m.Last > m.First:
		return fmt.Sprintf("%d-%d", m.First, m.Last)
	}
	return strconv.Itoa(int(m.First))
}

// compare orders mappings by the container's port, then the protocol and the address.
func compare(a, b Mapping) int {
	if d := int(a.Port) - int(b.Port); d != 0 {
		return d
	}
	if d := strings.Compare(a.Protocol, b.Protocol); d != 0 {
		return d
	}
	if d := a.HostIP.Compare(b.HostIP); d != 0 {
		return d
	}
	return int(a.First) - int(b.First)
}

// Sort puts mappings into the order of docker's listings.
func Sort(list []Mapping) { slices.SortFunc(list, compare) }

// Show is docker's PORTS column: neighbours are drawn together, and ports that
// are only exposed ("80/tcp") stand alone.
func Show(open []Mapping, exposed []string) string {
	list := slices.Clone(open)
	slices.SortFunc(list, func(a, b Mapping) int {
		if d := a.HostIP.Compare(b.HostIP); d != 0 {
			return d
		}
		if d := strings.Compare(a.Protocol, b.Protocol); d != 0 {
			return d
		}
		return compare(a, b)
	})
	var words []string
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && follows(list[j-1], list[j]) && list[i].First-list[i].Port == list[j].First-list[j].Port {
			j++
		}
		words = append(words, shown(list[i], list[j-1]))
		i = j
	}
	published := map[string]bool{}
	for _, m := range open {
		published[m.Container()] = true
	}
	for _, e := range exposed {
		if !published[e] {
			words = append(words, e)
		}
	}
	return strings.Join(words, ", ")
}

func follows(a, b Mapping) bool {
	return a.HostIP == b.HostIP && a.Protocol == b.Protocol && b.Port == a.Port+1 && b.First == a.First+1
}

func shown(from, to Mapping) string {
	if from == to {
		return from.Host() + "->" + from.Container()
	}
	return fmt.Sprintf("%s-%d->%d-%d/%s", from.Host(), to.First, from.Port, to.Port, from.Protocol)
}
