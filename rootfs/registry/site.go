package registry

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// sameSite reports that two host names belong to one owner: equal, or below
// the same registrable domain by the public suffix list. Addresses and bare
// names ("registry") are only the same when equal.
func sameSite(a, b string) bool {
	a, b = strings.ToLower(strings.TrimSuffix(a, ".")), strings.ToLower(strings.TrimSuffix(b, "."))
	if a == b {
		return true
	}
	for _, host := range []string{a, b} {
		if _, err := netip.ParseAddr(host); err == nil {
			return false
		}
	}
	siteA, errA := publicsuffix.EffectiveTLDPlusOne(a)
	siteB, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && siteA == siteB
}
