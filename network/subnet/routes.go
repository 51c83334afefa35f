package subnet

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Routes lists the networks that the host has routes to, default routes left out,
// and its resolvers: a container network over one of them would hide it.
func Routes() []netip.Prefix {
	v4, _ := os.ReadFile("/proc/net/route")
	v6, _ := os.ReadFile("/proc/net/ipv6_route")
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	return append(append(parseRoutes(string(v4)), parseRoutes6(string(v6))...), parseResolvers(string(resolv))...)
}

// parseRoutes reads /proc/net/route: addresses are hexadecimal numbers in the
// byte order of the machine, which is that of the network backwards.
func parseRoutes(text string) (list []netip.Prefix) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		address, mask := backwards(f[1]), backwards(f[7])
		if address == nil || mask == nil {
			continue
		}
		bits := 0
		for _, b := range mask {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
		if bits > 0 {
			list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte(address)), bits))
		}
	}
	return list
}

func backwards(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 4 {
		return nil
	}
	if nativeLittle {
		b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	}
	return b
}

// parseRoutes6 reads /proc/net/ipv6_route.
func parseRoutes6(text string) (list []netip.Prefix) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		b, err := hex.DecodeString(f[0])
		bits, err2 := strconv.ParseUint(f[1], 16, 8)
		if err != nil || err2 != nil || len(b) != 16 || bits == 0 || bits > 128 {
			continue
		}
		list = append(list, netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), int(bits)))
	}
	return list
}

func parseResolvers(text string) (list []netip.Prefix) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				a = a.Unmap().WithZone("")
				list = append(list, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	return list
}
