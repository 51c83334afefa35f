package stack

import "encoding/binary"

// vnetLen is the size of struct virtio_net_hdr (linux/virtio_net.h), which
// precedes every packet on the device:
//
//	flags(1) gso_type(1) hdr_len(2) gso_size(2) csum_start(2) csum_offset(2)
//
// all in native byte order.
const vnetLen = 10

const (
	vnetNeedsChecksum = 1
	vnetTCP4          = 1
	vnetTCP6          = 4
)

// putVnet fills the header for a packet whose transport checksum field holds
// the pseudo-header sum only and is completed by the kernel, if anybody ever
// looks at it. mss is the segment size to cut the payload into, 0 when it is
// one segment.
func putVnet(h []byte, v6 bool, ipLen, transportLen, checksumOffset, mss int) {
	_ = h[vnetLen-1]
	h[0] = vnetNeedsChecksum
	h[1] = 0
	if mss != 0 && v6 {
		h[1] = vnetTCP6
	} else if mss != 0 {
		h[1] = vnetTCP4
	}
	binary.NativeEndian.PutUint16(h[2:], uint16(ipLen+transportLen))
	binary.NativeEndian.PutUint16(h[4:], uint16(mss))
	binary.NativeEndian.PutUint16(h[6:], uint16(ipLen))
	binary.NativeEndian.PutUint16(h[8:], uint16(checksumOffset))
}
