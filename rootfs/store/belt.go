package store

import (
	"errors"
	"io"
)

// belt reads a stream ahead in a goroutine of its own, shows the bytes to another,
// and hands them on in chunks, so that receiving, inflating, hashing and unpacking
// run side by side.
type belt struct {
	read  chan chunk // read, not seen yet
	full  chan chunk
	empty chan []byte
	stop  chan struct{}
	done  chan struct{} // closed when both goroutines have ended
	now   chunk
	at    int
}

type chunk struct {
	data []byte
	err  error
}

// Six chunks on the way are enough to even out the two sides.
const (
	beltChunks    = 6
	beltChunkSize = 256 << 10
)

var errStopped = errors.New("stopped")

// newBelt starts reading source. see is called with each chunk before it is
// handed on, in a goroutine of the belt's. Call close when the reader is no longer
// needed.
func newBelt(source io.Reader, see func([]byte)) *belt {
	b := &belt{
		read: make(chan chunk, beltChunks), full: make(chan chunk, beltChunks), empty: make(chan []byte, beltChunks),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	for range beltChunks {
		b.empty <- nil // made when first used: a small layer needs one
	}
	go b.fill(source)
	go b.show(see)
	return b
}

// fill closes read when it is done, whatever the reason.
func (b *belt) fill(source io.Reader) {
	defer close(b.read)
	for {
		var buffer []byte
		select {
		case buffer = <-b.empty:
		case <-b.stop:
			return
		}
		if buffer == nil {
			buffer = make([]byte, beltChunkSize)
		}
		n, err := fillSome(source, buffer[:beltChunkSize])
		b.read <- chunk{buffer[:n], err} // has room for all there are
		if err != nil {
			return
		}
	}
}

// show ends after fill.
func (b *belt) show(see func([]byte)) {
	defer close(b.done)
	for c := range b.read {
		see(c.data)
		b.full <- c // likewise
	}
}

// fillSome is io.ReadFull that keeps the source's own error.
func fillSome(source io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var more int
		more, err = source.Read(buffer[n:])
		n += more
	}
	return n, err
}

func (b *belt) Read(p []byte) (int, error) {
	for b.at == len(b.now.data) {
		if b.now.err != nil {
			return 0, b.now.err
		}
		if b.now.data != nil {
			b.empty <- b.now.data // has room for all there are
		}
		select {
		case b.now = <-b.full:
		case <-b.stop:
			return 0, errStopped
		}
		b.at = 0
	}
	n := copy(p, b.now.data[b.at:])
	b.at += n
	return n, nil
}

// close makes pending and later reads fail and stops the goroutine, which may
// still be inside its source's Read: wait for done before reusing what it reads.
func (b *belt) close() { close(b.stop) }
