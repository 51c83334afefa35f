package unpack

import (
	"errors"
	"fmt"
)

// ErrLimit is wrapped by the errors of a layer that exceeds a limit.
var ErrLimit = errors.New("limit exceeded")

// Limits bound one layer. The zero value of a field is its default.
type Limits struct {
	Entries    int64 // archive entries
	Bytes      int64 // unpacked bytes, holes of sparse files included
	Ratio      int64 // unpacked bytes per compressed byte, once RatioFrom bytes are out
	RatioFrom  int64
	FileXattrs int   // extended attributes of one entry
	Xattrs     int64 // extended attributes of the layer
}

// The defaults. The largest public images have about 10^6 files and 60 GB in a
// layer. Text seldom compresses better than 20:1; gzip cannot pass 1032:1.
const (
	defaultEntries    = 4 << 20
	defaultBytes      = 256 << 30
	defaultRatio      = 200
	defaultRatioFrom  = 256 << 20
	defaultFileXattrs = 128
	defaultXattrs     = 1 << 18
	// trailing bounds what may follow the end of the archive; tar pads to 10 KiB.
	trailing = 16 << 20
	// maxPath is PATH_MAX less the closing NUL.
	maxPath = 4095
)

func (l Limits) withDefaults() Limits {
	pick := func(value *int64, fallback int64) {
		if *value == 0 {
			*value = fallback
		}
	}
	pick(&l.Entries, defaultEntries)
	pick(&l.Bytes, defaultBytes)
	pick(&l.Ratio, defaultRatio)
	pick(&l.RatioFrom, defaultRatioFrom)
	pick(&l.Xattrs, defaultXattrs)
	if l.FileXattrs == 0 {
		l.FileXattrs = defaultFileXattrs
	}
	return l
}

// meter counts what a layer has cost so far.
type meter struct {
	Limits
	entries, bytes, xattrs int64
	compressed             func() int64 // bytes read from the source; nil if not compressed
}

func (m *meter) entry() error {
	m.entries++
	if m.entries > m.Entries {
		return fmt.Errorf("more than %d files in one layer: %w", m.Entries, ErrLimit)
	}
	return nil
}

// spend is called before n bytes are written, so that a header's claim of
// 8 EiB costs nothing.
func (m *meter) spend(n int64) error {
	if n < 0 || n > m.Bytes-m.bytes {
		return fmt.Errorf("more than %d bytes in one layer: %w", m.Bytes, ErrLimit)
	}
	m.bytes += n
	return nil
}

// ratio refuses a stream that expands beyond what real files do. written is
// what has come out of the decompressor.
func (m *meter) ratio(written int64) error {
	if m.compressed == nil || written < m.RatioFrom {
		return nil
	}
	if source := m.compressed(); written/m.Ratio > source {
		return fmt.Errorf("%d compressed bytes expand to more than %d, over %d times: %w", source, written, m.Ratio, ErrLimit)
	}
	return nil
}

func (m *meter) countAttributes(n int) error {
	m.xattrs += int64(n)
	if n > m.FileXattrs || m.xattrs > m.Xattrs {
		return fmt.Errorf("more than %d extended attributes in one entry or %d in one layer: %w", m.FileXattrs, m.Xattrs, ErrLimit)
	}
	return nil
}
