package unpack

import (
	"bytes"
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

// The sum is the standard library's, however the bytes are handed over.
func TestChecksum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 5*crcBlock+77)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	for _, size := range []int{0, 1, 7, 8, 511, crcPart, crcBlock - 1, crcBlock, crcBlock + 1, 2*crcBlock + 9, len(data)} {
		want := crc64.New(crc64.MakeTable(crc64.ISO))
		want.Write(data[:size])
		c := newChecksum()
		for rest := data[:size]; ; {
			n := min(len(rest), random.IntN(2*crcBlock)+1)
			c.Write(rest[:n])
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		if !bytes.Equal(c.bytes(), want.Sum(nil)) {
			t.Errorf("%d bytes: %x, the standard library has %x", size, c.bytes(), want.Sum(nil))
		}
		c.reset()
		c.Write(data[:size])
		if !bytes.Equal(c.bytes(), want.Sum(nil)) {
			t.Errorf("%d bytes at once after a reset: %x, the standard library has %x", size, c.bytes(), want.Sum(nil))
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	data := make([]byte, 64<<10)
	b.Run("own", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		c := newChecksum()
		for b.Loop() {
			c.Write(data)
		}
	})
	b.Run("standard", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		c := crc64.New(crc64.MakeTable(crc64.ISO))
		for b.Loop() {
			c.Write(data)
		}
	})
}
