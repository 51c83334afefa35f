package stack

import (
	"net/netip"
	"testing"
)

// TestRouterSources: behind a router every address of its networks is a container's,
// and no other is: a container that makes up another gets nothing carried.
func TestRouterSources(t *testing.T) {
	s, err := newStack(Config{
		Router:    true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd00:1::1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.loop.close()
	for source, gateway := range map[string]string{
		"10.1.0.2": "10.1.0.1", "10.1.0.254": "10.1.0.1", "fd00:1::9": "fd00:1::1",
		"10.1.1.2": "", "203.0.113.9": "", "127.0.0.1": "", "fd00:2::9": "", "::1": "",
	} {
		got := s.gateway(netip.MustParseAddr(source))
		if got.IsValid() != (gateway != "") || got.IsValid() && got.String() != gateway {
			t.Errorf("%s: gateway %s, want %q", source, got, gateway)
		}
	}
	// The router's gateways are its own: another address stands for the host.
	if s.standIn(netip.MustParseAddr("10.1.0.2")) != RouterHost4 || s.standIn(netip.MustParseAddr("fd00:1::9")) != RouterHost6 {
		t.Error("the gateway stands for the host")
	}
	if _, ok := s.route(RouterHost4, netip.MustParseAddr("10.1.0.2"), 80); ok {
		t.Error("the host's loopback is open")
	}
	s.cfg.Policy.HostLoopback = true
	s.destination = s.cfg.Policy.destination
	if to, ok := s.route(RouterHost4, netip.MustParseAddr("10.1.0.2"), 80); !ok || to.String() != "127.0.0.1:80" {
		t.Errorf("the host's loopback, asked for: %s, %t", to, ok)
	}
}
