package port

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
)

// Parse reads one --publish: [ADDRESS:][HOST-PORT:]PORT[/PROTOCOL], each port a
// number or a range, or docker's long form target=80,published=8080,protocol=tcp.
func Parse(text string) ([]Mapping, error) {
	if strings.Contains(text, "=") {
		var err error
		if text, err = short(text); err != nil {
			return nil, err
		}
	}
	parsed, err := nat.ParsePortSpec(text)
	if err != nil {
		return nil, err
	}
	var list []Mapping
	for _, p := range parsed {
		m, err := mapping(p)
		if err != nil {
			return nil, fmt.Errorf("publish %s: %w", text, err)
		}
		list = append(list, m)
	}
	return list, nil
}

func mapping(p nat.PortMapping) (m Mapping, err error) {
	m.Port, m.Protocol = uint16(p.Port.Int()), p.Port.Proto()
	if m.Port == 0 {
		return m, fmt.Errorf("port 0 of a container is none")
	}
	if m.Protocol != TCP && m.Protocol != UDP {
		return m, fmt.Errorf("protocol %s is not supported: tcp or udp", m.Protocol)
	}
	if p.Binding.HostIP != "" {
		if m.HostIP, err = netip.ParseAddr(p.Binding.HostIP); err != nil {
			return m, fmt.Errorf("invalid IP address: %s", p.Binding.HostIP)
		}
		m.HostIP = m.HostIP.Unmap()
	}
	if p.Binding.HostPort != "" {
		first, last, err := nat.ParsePortRange(p.Binding.HostPort)
		if err != nil {
			return m, err
		}
		m.First, m.Last = uint16(first), uint16(last)
	}
	return m, nil
}

// short turns the long form into the short one.
func short(text string) (string, error) {
	fields := map[string]string{"protocol": TCP}
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case !ok || value == "":
			return "", fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", field)
		case key == "target", key == "published", key == "protocol", key == "mode":
			fields[key] = value
		default:
			return "", fmt.Errorf("invalid publish option: %q: target, published and protocol are there", key)
		}
	}
	return fields["published"] + ":" + fields["target"] + "/" + fields["protocol"], nil
}

// sctp can be exposed, which is no more than a note, and not published.
const sctp = "sctp"

// ParseExpose reads one --expose, PORT[-PORT][/PROTOCOL], into "80/tcp" and the like.
func ParseExpose(text string) ([]string, error) {
	proto, ports := nat.SplitProtoPort(text)
	proto = strings.ToLower(proto)
	if strings.Contains(text, ":") || proto != TCP && proto != UDP && proto != sctp {
		return nil, fmt.Errorf("invalid port format for --expose: %s", text) // docker's words
	}
	first, last, err := nat.ParsePortRange(ports)
	if err != nil {
		return nil, fmt.Errorf("invalid range format for --expose: %s, error: %w", text, err)
	}
	var list []string
	for n := first; n <= last; n++ {
		list = append(list, strconv.FormatUint(n, 10)+"/"+proto)
	}
	return list, nil
}

// Any publishes an exposed port ("80/tcp", of an image: "80") on any port of the host.
func Any(exposed string) (Mapping, error) {
	list, err := Parse(exposed)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("publish exposed port %q: not a port", exposed)
	}
	if err != nil {
		return Mapping{}, err
	}
	return list[0], nil
}
