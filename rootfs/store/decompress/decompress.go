// Package decompress opens a compressed stream of unknown kind: the kind is told
// by the first bytes, as media types of layers are often wrong. Memory is
// bounded whatever the stream asks for.
//
// It leaves out writing: what bryo stores is not compressed.
package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"bryo/rootfs/store/decompress/gunzip"
)

// Kind is a form of compression.
type Kind string

// The kinds that are known. Layers come as the first three.
const (
	None  Kind = "none"
	Gzip  Kind = "gzip"
	Zstd  Kind = "zstd"
	Bzip2 Kind = "bzip2"
	XZ    Kind = "xz"
)

// maxWindow bounds what a zstd or xz stream may ask to keep in memory. Encoders
// stay at 8 MiB up to level 19; a frame may ask for 2 GiB (RFC 8878).
const maxWindow = 64 << 20

// Detect tells the kind by the first bytes of a stream; 6 are enough.
func Detect(head []byte) Kind {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), isSkippable(head):
		return Zstd
	case bytes.HasPrefix(head, []byte("BZh")):
		return Bzip2
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return XZ
	}
	return None
}

// isSkippable: a zstd stream may begin with a frame for other programs, as
// zstd:chunked layers' seek tables are.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18
}

// Reader reads the plain contents of source. A stream that is not compressed
// passes unchanged. Close does not close source.
func Reader(source io.Reader) (io.ReadCloser, Kind, error) {
	buffered := bufio.NewReaderSize(source, 128<<10)
	head, err := buffered.Peek(6)
	if err != nil && err != io.EOF {
		return nil, None, err
	}
	kind := Detect(head)
	plain, err := open(kind, buffered)
	if err != nil {
		return nil, kind, fmt.Errorf("%s: %w", kind, err)
	}
	return plain, kind, nil
}

func open(kind Kind, source *bufio.Reader) (io.ReadCloser, error) {
	switch kind {
	case Gzip:
		return gunzip.NewReader(source)
	case Zstd:
		decoder, err := zstd.NewReader(source, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return decoder.IOReadCloser(), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(source)), nil
	case XZ:
		return openXZ(source)
	}
	return io.NopCloser(source), nil
}

// openXZ refuses a first block with a huge dictionary: the library allocates
// what the header asks for. Only files that the user names are xz, never layers.
func openXZ(source *bufio.Reader) (io.ReadCloser, error) {
	head, err := source.Peek(12 + 32)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if size := xzDictionary(head); size > maxWindow {
		return nil, fmt.Errorf("asks for a dictionary of %d bytes, the limit is %d", size, maxWindow)
	}
	reader, err := xz.NewReader(source)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(reader), nil
}

// xzDictionary reads the dictionary size from the first block header (xz file
// format 1.0.4, 3.1 and 5.3.1): stream header of 12 bytes, size, flags, optional
// sizes, then filters. Only the usual single LZMA2 filter is looked for; the
// library refuses others.
func xzDictionary(head []byte) int64 {
	if len(head) < 12+6 {
		return 0
	}
	block := head[12:]
	at := 2
	for flag := byte(0x40); flag != 0 && flag >= 0x40; flag <<= 1 { // compressed and uncompressed size, both varints
		if block[1]&flag == 0 {
			continue
		}
		for at < len(block) && block[at]&0x80 != 0 {
			at++
		}
		at++
	}
	if at+2 >= len(block) || block[at] != 0x21 {
		return 0
	}
	bits := block[at+2]
	if bits > 40 {
		return 1 << 32
	}
	return int64(2|bits&1) << (bits/2 + 11)
}
