package etc

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// maxHostname is what the kernel keeps of either name (__NEW_UTS_LEN).
const maxHostname = 64

func (o Options) check() error {
	if err := CheckHostname(o.Hostname); err != nil {
		return err
	}
	if err := CheckDomainname(o.Domainname); err != nil {
		return err
	}
	for _, alias := range o.Aliases {
		if !nameOK(alias) {
			return fmt.Errorf("invalid network alias: %q", alias)
		}
	}
	for _, server := range o.DNS {
		if err := CheckDNS(server); err != nil {
			return err
		}
	}
	for _, domain := range o.Search {
		if err := CheckSearch(domain); err != nil {
			return err
		}
	}
	for _, option := range o.Options {
		if err := CheckDNSOption(option); err != nil {
			return err
		}
	}
	return nil
}

// CheckHostname accepts "" and what the kernel and a hosts file can hold.
func CheckHostname(name string) error {
	if name == "" || len(name) <= maxHostname && nameOK(name) {
		return nil
	}
	return fmt.Errorf("invalid hostname format: %q", name)
}

// CheckDomainname is CheckHostname for --domainname.
func CheckDomainname(name string) error {
	if name == "" || len(name) <= maxHostname && nameOK(name) {
		return nil
	}
	return fmt.Errorf("invalid domainname format: %q", name)
}

// nameOK: letters, digits, and inside of a label '-' and '_'. Stricter than the
// kernel, as wide as names in use.
func nameOK(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || !labelOK(label, "-_") {
			return false
		}
	}
	return true
}

func labelOK(label, inner string) bool {
	for i := range len(label) {
		c := label[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		edge := i == 0 || i == len(label)-1
		if !letter && (edge || strings.IndexByte(inner, c) < 0) {
			return false
		}
	}
	return label != ""
}

// ParseAddHost reads one --add-host: HOST:IP or HOST=IP, the address bare or in
// brackets, or HostGateway. Messages are docker's.
func ParseAddHost(entry string) (name, ip string, err error) {
	name, ip, ok := strings.Cut(entry, "=")
	if !ok {
		name, ip, ok = strings.Cut(entry, ":")
	}
	if !ok || name == "" || strings.Contains(name, ":") || strings.ContainsFunc(name, notInName) {
		return "", "", fmt.Errorf("bad format for add-host: %q", entry)
	}
	if ip == HostGateway {
		return name, ip, nil
	}
	if len(ip) > 2 && ip[0] == '[' && ip[len(ip)-1] == ']' {
		ip = ip[1 : len(ip)-1]
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(ip))
	if err != nil || addr.Zone() != "" {
		return "", "", fmt.Errorf("invalid IP address in add-host: %q", ip)
	}
	return name, addr.String(), nil
}

// notInName: whatever would end the name in a hosts file, or hide there.
func notInName(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '#'
}

// CheckDNS accepts an address for --dns.
func CheckDNS(server string) error {
	addr, err := netip.ParseAddr(strings.TrimSpace(server))
	if err != nil || addr.Zone() != "" { // a zone may hold anything, a line break too
		return fmt.Errorf("IP address is not correctly formatted: %s", server) // docker's words
	}
	return nil
}

// CheckSearch accepts a domain for --dns-search, "." for none.
func CheckSearch(domain string) error {
	if domain == "." {
		return nil
	}
	ok := len(domain) < 255 && strings.ContainsFunc(domain, func(r rune) bool { return r < 128 && unicode.IsLetter(r) })
	for label := range strings.SplitSeq(strings.TrimSuffix(domain, "."), ".") {
		ok = ok && labelOK(label, "-")
	}
	if !ok {
		return fmt.Errorf("%s is not a valid domain", domain)
	}
	return nil
}

// CheckDNSOption keeps --dns-opt to one line.
func CheckDNSOption(option string) error {
	if option == "" || strings.ContainsFunc(option, unicode.IsControl) {
		return fmt.Errorf("invalid dns option: %q", option)
	}
	return nil
}
