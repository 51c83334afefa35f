package subnet

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"bryo/network/dns"
)

// Routes lists the networks that the host has routes to, default routes left out,
// and its resolvers: a container network over one of them would hide it.
func Routes() []netip.Prefix {
	v4, _ := os.ReadFile("/proc/net/route")
	v6, _ := os.ReadFile("/proc/net/ipv6_route")
	list := append(parseRoutes(string(v4)), parseRoutes6(string(v6))...)
	for _, server := range dns.HostResolvers("")() {
		a := server.Addr().WithZone("")
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

// parseRoutes reads /proc/net/route: an address is a hexadecimal number, whose
// bytes in this machine's memory are the address.
func parseRoutes(text string) (list []netip.Prefix) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		address, mask := native(f[1]), native(f[7])
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

func native(text string) []byte {
	n, err := strconv.ParseUint(text, 16, 32)
	if err != nil {
		return nil
	}
	return binary.NativeEndian.AppendUint32(nil, uint32(n))
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
