package subnet

import "encoding/binary"

// nativeLittle: the machine writes the low byte first.
var nativeLittle = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
