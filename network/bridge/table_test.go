package bridge

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testTable is one network of a data root in which the given containers exist.
func testTable(t *testing.T, subnet string, ids ...string) *table {
	t.Helper()
	root := t.TempDir()
	for _, id := range ids {
		if err := os.MkdirAll(filepath.Join(root, "containers", id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(root, "networks", "net")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := newConfig(CreateOptions{Name: "net", IPv4: true, Subnets: []string{subnet}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	made := newTable(c, dir)
	return &made
}

func add(t *testing.T, tab *table, r Request) (*endpoint, string) {
	t.Helper()
	r.Link = "eth0"
	e, err := tab.add(r)
	if err != nil {
		return nil, err.Error()
	}
	return e, e.addresses[0].Addr().String()
}

// TestLeases: an address stays a container's while that exists, also when it does
// not run, unless there is no other.
func TestLeases(t *testing.T) {
	tab := testTable(t, "10.1.0.0/29", "a", "b", "c", "d", "e", "f")
	a, first := add(t, tab, Request{ID: "a"})
	if first != "10.1.0.2" {
		t.Fatalf("a: %s", first)
	}
	tab.remove(a)
	if _, got := add(t, tab, Request{ID: "b"}); got != "10.1.0.3" {
		t.Errorf("b took a's: %s", got)
	}
	again := newTable(tab.config, tab.dir) // a new helper
	if _, got := add(t, &again, Request{ID: "a"}); got != "10.1.0.2" {
		t.Errorf("a, after the helper: %s", got)
	}
	brief, got := add(t, tab, Request{ID: "c", Brief: true})
	if got != "10.1.0.4" {
		t.Errorf("c: %s", got)
	}
	tab.remove(brief)
	if _, got := add(t, tab, Request{ID: "d"}); got != "10.1.0.4" {
		t.Errorf("d did not take what a --rm container left: %s", got)
	}
	add(t, tab, Request{ID: "e"})
	add(t, tab, Request{ID: "f"})
	// .5 and .6 are gone: what is left is a's, who does not run.
	if _, got := add(t, tab, Request{ID: "g"}); got != "10.1.0.2" {
		t.Errorf("g: %s", got)
	}
	if _, got := add(t, tab, Request{ID: "h"}); !strings.Contains(got, "no available IP addresses") {
		t.Errorf("h: %s", got)
	}
	os.RemoveAll(filepath.Join(filepath.Dir(filepath.Dir(tab.dir)), "containers", "a"))
}

func TestNames(t *testing.T) {
	tab := testTable(t, "10.1.0.0/24")
	id := strings.Repeat("ab", 32)
	add(t, tab, Request{ID: id, Name: "Web", Hostname: "box", Aliases: []string{"www"}})
	add(t, tab, Request{ID: "other", Name: "two", Aliases: []string{"www"}})
	for name, want := range map[string]int{"web": 1, "web.net": 1, "box": 1, "www": 2, id: 1, id[:12]: 1, id[:11]: 0, "": 0, "two.other": 0} {
		if got := tab.names[name]; len(got) != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if tab.of(id) == nil || tab.of("nobody") != nil {
		t.Error("by id")
	}
}

func TestRefusedAddresses(t *testing.T) {
	tab := testTable(t, "10.1.0.0/24")
	add(t, tab, Request{ID: "a"})
	for ip, want := range map[string]string{
		"10.1.0.2": "already in use", "10.1.0.1": "already in use", "10.1.0.0": "already in use", "10.1.0.255": "already in use",
		"10.2.0.1": "no configured subnet contains IP address",
	} {
		if _, got := add(t, tab, Request{ID: "b", IP: netip.MustParseAddr(ip)}); !strings.Contains(got, want) {
			t.Errorf("%s: %s", ip, got)
		}
	}
	if _, got := add(t, tab, Request{ID: "b", MAC: "01:00:00:00:00:01"}); !strings.Contains(got, "invalid MAC address") {
		t.Errorf("multicast MAC: %s", got)
	}
	if len(tab.endpoints) != 1 {
		t.Errorf("refused ones are on the network: %v", tab.endpoints)
	}
}

func TestNewConfig(t *testing.T) {
	host, others := []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}, []netip.Prefix{netip.MustParsePrefix("172.19.0.0/24")}
	for name, c := range map[string]struct {
		o    CreateOptions
		want string // of the first subnet and gateway, or of the error
	}{
		"auto":            {CreateOptions{Name: "n", IPv4: true}, "172.20.0.0/16 172.20.0.1"},
		"subnet":          {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.0/24"}}, "10.0.0.0/24 10.0.0.1"},
		"gateway":         {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.0/24"}, Gateways: []string{"10.0.0.9"}}, "10.0.0.0/24 10.0.0.9"},
		"first is aux":    {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.0/24"}, Aux: map[string]string{"r": "10.0.0.1"}}, "10.0.0.0/24 10.0.0.2"},
		"over the host's": {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"172.18.1.0/24"}}, "172.18.1.0/24 172.18.1.1"},
		"over another's":  {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"172.19.0.0/16"}}, "Pool overlaps"},
		"two overlap":     {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.0/8", "10.1.0.0/16"}}, "multiple overlapping"},
		"host bits":       {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.1/24"}}, "it should be 10.0.0.0/24"},
		"gateway outside": {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.0/24"}, Gateways: []string{"10.0.1.1"}}, "no matching subnet for gateway"},
		"gateway is net":  {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.0/24"}, Gateways: []string{"10.0.0.0"}}, "not an address of a machine"},
		"too small":       {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"10.0.0.0/32"}}, "too small"},
		"all of it":       {CreateOptions{Name: "n", IPv4: true, Subnets: []string{"0.0.0.0/0"}}, "mean something else"},
		"no family":       {CreateOptions{Name: "n"}, "must be enabled"},
		"predefined":      {CreateOptions{Name: "host", IPv4: true}, "predefined host network"},
		"path":            {CreateOptions{Name: "../x", IPv4: true}, "invalid network name"},
		"MTU":             {CreateOptions{Name: "n", IPv4: true, Options: map[string]string{OptionMTU: "9"}}, "not a number from 68"},
		"driver":          {CreateOptions{Name: "n", IPv4: true, Driver: "overlay"}, "without root"},
	} {
		got := ""
		made, err := newConfig(c.o, host, others)
		if err != nil {
			got = err.Error()
		} else {
			got = made.Subnets[0].Prefix.String() + " " + made.Subnets[0].Gateway.String()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
