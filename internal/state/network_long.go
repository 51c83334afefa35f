package state

import (
	"encoding/csv"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// parseLongNetwork reads docker's long form of --network: name=NAME and what the
// container has there, fields of one CSV record.
func parseLongNetwork(text string) (n Network, err error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return n, fmt.Errorf("network %s: %w", text, err)
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok || value == "" {
			return n, fmt.Errorf("invalid network field %s: must be a key=value pair", field)
		}
		if err := n.set(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)); err != nil {
			return n, err
		}
	}
	if n.Name == "" {
		return n, fmt.Errorf("network name/id is not specified")
	}
	if n.Name == "bridge" {
		n.Name = NetworkDefault
	}
	return n, nil
}

func (n *Network) set(key, value string) (err error) {
	switch key {
	case "name":
		n.Name = value
	case "alias":
		n.Aliases = append(n.Aliases, strings.ToLower(value))
	case "ip":
		n.IP, err = ParseIP(value, true)
	case "ip6":
		n.IP6, err = ParseIP(value, false)
	case "mac-address":
		n.MAC, err = ParseMAC(value)
	case "gw-priority":
		if n.Priority, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("invalid gw-priority (%s)", value)
		}
	case "driver-opt", "link-local-ip":
		err = fmt.Errorf("network %s: field %s is not supported", n.Name, key)
	default:
		err = fmt.Errorf("invalid field key %s", key)
	}
	return err
}

// ParseIP reads an address of one family.
func ParseIP(text string, v4 bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is4() != v4 || a.Zone() != "" || a.Is4In6() {
		family := map[bool]string{true: "IPv4", false: "IPv6"}[v4]
		return netip.Addr{}, fmt.Errorf("invalid %s address: %s", family, text)
	}
	return a, nil
}

// ParseMAC reads the hardware address of one machine.
func ParseMAC(text string) (string, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return "", fmt.Errorf("%s is not a valid mac address", text)
	}
	return mac.String(), nil
}
