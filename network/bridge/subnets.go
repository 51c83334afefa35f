package bridge

import (
	"errors"
	"fmt"
	"net/netip"
)

// parseSubnets reads --subnet, --gateway, --ip-range and --aux-address. Each of
// the latter belongs to the one subnet that it lies in.
func parseSubnets(o CreateOptions) ([]Subnet, error) {
	var list []Subnet
	for _, text := range o.Subnets {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid subnet %s: invalid CIDR block notation", text)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("invalid network config: invalid subnet %s: it should be %s", text, p.Masked())
		}
		for _, other := range list {
			if other.Prefix.Overlaps(p) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		if err := checkSubnet(p, o); err != nil {
			return nil, err
		}
		list = append(list, Subnet{Prefix: p})
	}
	for _, text := range o.IPRanges {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid ip-range %s: invalid CIDR block notation", text)
		}
		s := holding(list, p.Addr())
		switch {
		case s == nil || p.Bits() < s.Prefix.Bits():
			return nil, fmt.Errorf("no matching subnet for range %s", text)
		case s.Range.IsValid():
			return nil, fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", text, s.Range, s.Prefix)
		}
		s.Range = p.Masked()
	}
	for _, text := range o.Gateways {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("invalid gateway address: %s", text)
		}
		s := holding(list, a)
		switch {
		case s == nil:
			return nil, fmt.Errorf("no matching subnet for gateway %s", text)
		case s.Gateway.IsValid():
			return nil, fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", text, s.Gateway, s.Prefix)
		case !s.pool().Usable(a):
			return nil, fmt.Errorf("gateway %s: not an address of a machine in %s", text, s.Prefix)
		}
		s.Gateway = a
	}
	return list, parseAux(list, o.Aux)
}

func parseAux(list []Subnet, aux map[string]string) error {
	for name, text := range aux {
		a, err := netip.ParseAddr(text)
		s := holding(list, a)
		if err != nil || s == nil {
			return fmt.Errorf("no matching subnet for aux-address %s", text)
		}
		if s.Aux == nil {
			s.Aux = map[string]netip.Addr{}
		}
		s.Aux[name] = a
	}
	return nil
}

// checkSubnet refuses what no container could use.
func checkSubnet(p netip.Prefix, o CreateOptions) error {
	switch a := p.Addr(); {
	case a.Is4() && !o.IPv4:
		return fmt.Errorf("subnet %s: IPv4 is not enabled for this network", p)
	case a.Is4() && p.Bits() > 31, a.Is6() && p.Bits() > 126:
		return fmt.Errorf("subnet %s: too small for a gateway and a container", p)
	case p.Bits() == 0, a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast(), a.Is4In6():
		return fmt.Errorf("subnet %s: these addresses mean something else", p)
	}
	return nil
}

func holding(list []Subnet, a netip.Addr) *Subnet {
	for i := range list {
		if list[i].Prefix.Contains(a) {
			return &list[i]
		}
	}
	return nil
}
