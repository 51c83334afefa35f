package bridge

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bryo/network/subnet"
)

// Driver is the only one there is: what others do needs rights on the host.
const Driver = "bridge"

// Config is one network as it was made, the content of network.json. It never
// changes.
type Config struct {
	ID      string    `json:"id"` // 64 hex digits
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// IPv4 and IPv6: a subnet of that family is assigned.
	IPv4       bool              `json:"ipv4"`
	IPv6       bool              `json:"ipv6"`
	Internal   bool              `json:"internal,omitempty"` // no way out
	Attachable bool              `json:"attachable,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Options    map[string]string `json:"options,omitempty"` // of the driver
	IPAM       map[string]string `json:"ipam,omitempty"`
	Subnets    []Subnet          `json:"subnets"`
}

// Subnet is a part of the network's addresses.
type Subnet struct {
	Prefix  netip.Prefix          `json:"prefix"`
	Range   netip.Prefix          `json:"range,omitzero"` // containers' addresses; none: all of Prefix
	Gateway netip.Addr            `json:"gateway"`
	Aux     map[string]netip.Addr `json:"aux,omitempty"` // never given to a container
	// Auto: nobody asked for this one.
	Auto bool `json:"auto,omitempty"`
}

func (s Subnet) pool() subnet.Pool { return subnet.Pool{Prefix: s.Prefix, Range: s.Range} }

// Options of the driver that mean something here; others are kept and shown.
const (
	OptionMTU    = "com.docker.network.driver.mtu"
	OptionPrefix = "com.docker.network.container_iface_prefix"
	OptionICC    = "com.docker.network.bridge.enable_icc"
	// OptionHost lets containers reach the host's loopback as 192.0.0.8, the
	// address of host-gateway; OptionMetadata opens link-local and cloud metadata
	// addresses.
	OptionHost     = "bryo.host-loopback"
	OptionMetadata = "bryo.metadata"
	// OptionAnyAddress lets containers send from addresses that are not their own, as
	// one that forwards for others does.
	OptionAnyAddress = "bryo.any-address"
)

// MTU of the network's links.
func (c *Config) MTU() int {
	if n, err := strconv.Atoi(c.Options[OptionMTU]); err == nil && n > 0 {
		return n
	}
	return 1500
}

// silent: containers do not reach each other, only the outside.
func (c *Config) silent() bool {
	on, err := strconv.ParseBool(c.Options[OptionICC])
	return err == nil && !on
}

// HostLoopback: the network's containers reach the host's loopback.
func (c *Config) HostLoopback() bool { return c.on(OptionHost) }

func (c *Config) on(option string) bool {
	on, _ := strconv.ParseBool(c.Options[option])
	return on
}

// LinkPrefix is how links are called in containers, followed by a number.
func (c *Config) LinkPrefix() string {
	if p := c.Options[OptionPrefix]; p != "" {
		return p
	}
	return "eth"
}

// CreateOptions describe a new network as the command line does.
type CreateOptions struct {
	Name, Driver, Scope         string
	IPv4, IPv6                  bool
	Internal, Attachable        bool
	Labels, Options, IPAM       map[string]string
	Subnets, Gateways, IPRanges []string
	Aux                         map[string]string
}

// predefined are the names that mean something else.
var predefined = []string{"bridge", "host", "none", "default", "bypass"}

// Predefined says whether a name is one of the modes that need no making.
func Predefined(name string) bool { return slices.Contains(predefined, name) }

// CheckName accepts what docker's own names are made of; it is a folder's name
// and a label of the domain name system.
func CheckName(name string) error {
	if name == "" {
		return errors.New("invalid name: name is empty")
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || strings.IndexByte("_.-", c) < 0) {
			return fmt.Errorf("invalid network name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
		}
	}
	if len(name) > maxName {
		return fmt.Errorf("invalid network name: %d bytes, at most %d", len(name), maxName)
	}
	return nil
}

// maxName leaves room in a file name for what stands before it.
const maxName = 200

// newConfig checks the options and fills in what they leave open. taken are the
// networks of the host and of the other networks; others those of the latter.
func newConfig(o CreateOptions, host, others []netip.Prefix) (*Config, error) {
	if Predefined(o.Name) {
		return nil, fmt.Errorf("operation is not permitted on predefined %s network", o.Name)
	}
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	if o.Driver != "" && o.Driver != Driver {
		return nil, fmt.Errorf("network driver %s: not available without root on the host: use bridge", o.Driver)
	}
	if o.Scope != "" && o.Scope != "local" {
		return nil, fmt.Errorf("network scope %s: there is only local", o.Scope)
	}
	if err := checkOptions(o.Options); err != nil {
		return nil, err
	}
	c := &Config{
		Name: o.Name, Created: time.Now().UTC(), IPv4: o.IPv4, IPv6: o.IPv6, Internal: o.Internal, Attachable: o.Attachable,
		Labels: maps.Clone(o.Labels), Options: maps.Clone(o.Options), IPAM: maps.Clone(o.IPAM),
	}
	subnets, err := parseSubnets(o)
	if err != nil {
		return nil, err
	}
	for _, s := range subnets {
		c.IPv6 = c.IPv6 || s.Prefix.Addr().Is6()
		if subnet.OverlapsAny(s.Prefix, others) {
			return nil, fmt.Errorf("subnet %s: invalid pool request: Pool overlaps with other one on this address space", s.Prefix)
		}
	}
	c.Subnets = subnets
	if !c.IPv4 && !c.IPv6 {
		return nil, errors.New("IPv4 or IPv6 must be enabled")
	}
	return c, c.assign(append(host, others...))
}

// assign gives the network a subnet of each family that it wants and lacks.
func (c *Config) assign(taken []netip.Prefix) error {
	var has4, has6 bool
	for _, s := range c.Subnets {
		has4, has6 = has4 || s.Prefix.Addr().Is4(), has6 || s.Prefix.Addr().Is6()
	}
	if c.IPv4 && !has4 {
		p, ok := subnet.Free(taken)
		if !ok {
			return errors.New("all predefined address pools have been fully subnetted: name one with --subnet")
		}
		c.Subnets = append(c.Subnets, Subnet{Prefix: p, Auto: true})
	}
	if c.IPv6 && !has6 {
		c.Subnets = append(c.Subnets, Subnet{Prefix: subnet.Free6(taken), Auto: true})
	}
	for i := range c.Subnets {
		if err := c.Subnets[i].assignGateway(); err != nil {
			return err
		}
	}
	return nil
}

// assignGateway takes the lowest address that nothing else wants.
func (s *Subnet) assignGateway() (err error) {
	if s.Gateway.IsValid() {
		return nil
	}
	free := func(a netip.Addr) bool {
		for _, x := range s.Aux {
			if x == a {
				return false
			}
		}
		return true
	}
	var ok bool
	if s.Gateway, ok = s.pool().Next(free); !ok {
		err = fmt.Errorf("subnet %s: no available addresses on this pool", s.Prefix)
	}
	return err
}

func checkOptions(options map[string]string) error {
	if text, ok := options[OptionMTU]; ok {
		if n, err := strconv.Atoi(text); err != nil || n < 68 || n > 65535 {
			return fmt.Errorf("option %s=%s: not a number from 68 to 65535", OptionMTU, text)
		}
	}
	for _, name := range []string{OptionICC, OptionHost, OptionMetadata, OptionAnyAddress} {
		if text, ok := options[name]; ok {
			if _, err := strconv.ParseBool(text); err != nil {
				return fmt.Errorf("option %s=%s: not true or false", name, text)
			}
		}
	}
	if p, ok := options[OptionPrefix]; ok && (p == "" || len(p) > 10 || CheckName(p) != nil) {
		return fmt.Errorf("option %s=%s: not a name of at most 10 letters", OptionPrefix, p)
	}
	return nil
}

// Find returns the subnet that holds an address.
func (c *Config) Find(a netip.Addr) (Subnet, bool) {
	for _, s := range c.Subnets {
		if s.Prefix.Contains(a) {
			return s, true
		}
	}
	return Subnet{}, false
}
