package main

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// advertise sends, in a frame of its own making from device DEVICE, a neighbour
// advertisement that ADDRESS is there, to the multicast address TO.
func advertise(a []string) error {
	device, err := net.InterfaceByName(a[0])
	if err != nil {
		return err
	}
	address, err := netip.ParseAddr(a[1])
	if err != nil {
		return err
	}
	to, err := netip.ParseAddr(a[2])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	mac := device.HardwareAddr
	source := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
	body := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, address.AsSlice()...) // override
	body = append(append(body, 2, 1), mac...)                                 // target link-layer address
	frame := sealed(source, to, body)
	frame = append(append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac...), append([]byte{0x86, 0xdd}, frame...)...)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index, Halen: 6, Protocol: 0xdd86})
}

// sealed puts an IPv6 header and the checksum around a message of ICMPv6.
func sealed(source, to netip.Addr, body []byte) []byte {
	header := append([]byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), 58, 255}, source.AsSlice()...)
	header = append(header, to.AsSlice()...)
	sum := uint32(len(body) + 58)
	for _, part := range [][]byte{header[8:], body} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(part[i])<<8 | uint32(part[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	body[2], body[3] = byte(^sum>>8), byte(^sum)
	return append(header, body...)
}
