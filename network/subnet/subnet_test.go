package subnet

import (
	"net/netip"
	"slices"
	"testing"
)

func p(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestFree(t *testing.T) {
	for name, c := range map[string]struct {
		taken []netip.Prefix
		want  string
	}{
		"nothing taken":          {nil, "172.18.0.0/16"},
		"another network":        {[]netip.Prefix{p("172.18.0.0/16"), p("172.19.128.0/24")}, "172.20.0.0/16"},
		"a VPN over all of them": {[]netip.Prefix{p("172.16.0.0/12")}, "192.168.0.0/20"},
		"a home network":         {[]netip.Prefix{p("172.16.0.0/12"), p("192.168.1.0/24")}, "192.168.16.0/20"},
		"full":                   {[]netip.Prefix{p("172.16.0.0/12"), p("192.168.0.0/16")}, "invalid Prefix"},
	} {
		if got, _ := Free(c.taken); got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	first := Free6(nil)
	if first.Bits() != 64 || !p("fd00::/8").Contains(first.Addr()) || first == Free6([]netip.Prefix{first}) {
		t.Errorf("IPv6: %s", first)
	}
}

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		pool  Pool
		taken []string
		want  string
	}{
		"the first":       {Pool{Prefix: p("10.1.0.0/24")}, []string{"10.1.0.1"}, "10.1.0.2"},
		"a gap":           {Pool{Prefix: p("10.1.0.0/24")}, []string{"10.1.0.1", "10.1.0.3"}, "10.1.0.2"},
		"a range":         {Pool{p("10.1.0.0/24"), p("10.1.0.128/25")}, nil, "10.1.0.128"},
		"full":            {Pool{Prefix: p("10.1.0.0/30")}, []string{"10.1.0.1", "10.1.0.2"}, "invalid IP"},
		"range with last": {Pool{p("10.1.0.0/24"), p("10.1.0.255/32")}, nil, "invalid IP"},
		"point to point":  {Pool{Prefix: p("10.1.0.0/31")}, []string{"10.1.0.0"}, "10.1.0.1"},
		"IPv6":            {Pool{Prefix: p("fd00:1::/64")}, []string{"fd00:1::1"}, "fd00:1::2"},
		"the end of IPv4": {Pool{Prefix: p("255.255.255.252/30")}, []string{"255.255.255.253", "255.255.255.254"}, "invalid IP"},
	} {
		got, _ := c.pool.Next(func(x netip.Addr) bool { return !slices.Contains(c.taken, x.String()) })
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRoutes(t *testing.T) {
	v4 := parseRoutes("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n" +
		"eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nshort\n")
	if !slices.Equal(v4, []netip.Prefix{p("192.168.1.0/24")}) {
		t.Errorf("IPv4: %v", v4)
	}
	v6 := parseRoutes6("fd000000000000000000000000000000 40 00000000000000000000000000000000 00\n" +
		"00000000000000000000000000000000 00 0 00\nbad 40\n")
	if !slices.Equal(v6, []netip.Prefix{p("fd00::/64")}) {
		t.Errorf("IPv6: %v", v6)
	}
}
