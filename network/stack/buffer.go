package stack

import (
	"golang.org/x/sys/unix"
)

// chunkLen is the unit in which stream data is kept: what one read from a
// host socket and one write to the device carry.
const chunkLen = 64 << 10

// A chunk is memory from mmap, not from Go's heap: it goes back to the kernel
// the moment it is not needed, and the collector never sees it.
type chunk struct {
	mem        []byte
	start, end int // mem[start:end] is filled
	next       *chunk
}

// chunks hands out chunks and keeps a few for reuse.
type chunks struct {
	free  *chunk
	spare int // chunks in free
	least int // fewest in free since the last trim
	used  int // chunks handed out
	limit int // bound of used
}

// get returns an empty chunk, or nil when the bound is reached.
func (p *chunks) get() *chunk {
	if p.used >= p.limit {
		return nil
	}
	c := p.free
	if c == nil {
		mem, err := unix.Mmap(-1, 0, chunkLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return nil
		}
		c = &chunk{mem: mem}
	} else {
		p.free = c.next
		p.spare--
		p.least = min(p.least, p.spare)
	}
	p.used++
	c.start, c.end, c.next = 0, 0, nil
	return c
}

func (p *chunks) put(c *chunk) {
	p.used--
	p.spare++
	c.next = p.free
	p.free = c
}

// trim gives back to the kernel what was not needed since the last trim.
func (p *chunks) trim() {
	for ; p.least > 0; p.least-- {
		c := p.free
		p.free = c.next
		p.spare--
		unix.Munmap(c.mem)
	}
	p.least = p.spare
}

// A buffer is a queue of bytes in chunks.
type buffer struct {
	head, tail *chunk
	size       int
}

// space returns room for up to want bytes (at most chunkLen) at the end of
// the queue, in one or two pieces: to fill a chunk to its end costs nothing
// then. What was written is added with grow, which must follow. Without
// memory there is less room, or none.
func (b *buffer) space(want int, p *chunks) (first, second []byte) {
	if b.tail == nil {
		if b.tail = p.get(); b.tail == nil {
			return nil, nil
		}
		b.head = b.tail
	}
	first = b.tail.mem[b.tail.end:]
	if len(first) >= want {
		return first[:want], nil
	}
	if b.tail.next = p.get(); b.tail.next == nil {
		return first, nil
	}
	return first, b.tail.next.mem[:want-len(first)]
}

// grow adds n bytes that were written to space, and gives back what was not
// used of it.
func (b *buffer) grow(n int, p *chunks) {
	b.size += n
	m := min(n, len(b.tail.mem)-b.tail.end)
	b.tail.end += m
	if next := b.tail.next; next != nil {
		if n == m {
			b.tail.next = nil
			p.put(next)
		} else {
			next.end = n - m
			b.tail = next
		}
	}
	if b.size == 0 {
		b.release(p)
	}
}

// push copies data to the end of the queue and returns how much fitted.
func (b *buffer) push(data []byte, p *chunks) int {
	n := 0
	for n < len(data) {
		first, second := b.space(min(len(data)-n, chunkLen), p)
		if first == nil {
			break
		}
		m := copy(first, data[n:])
		m += copy(second, data[n+m:])
		b.grow(m, p)
		if m == 0 {
			break
		}
		n += m
	}
	return n
}

// first returns the bytes at the front that lie together.
func (b *buffer) first() []byte {
	if b.head == nil {
		return nil
	}
	return b.head.mem[b.head.start:b.head.end]
}

// drop takes n bytes off the front.
func (b *buffer) drop(n int, p *chunks) {
	b.size -= n
	for b.head != nil {
		m := min(n, b.head.end-b.head.start)
		b.head.start += m
		n -= m
		if b.head.start < b.head.end {
			return
		}
		c := b.head
		b.head = c.next
		if b.head == nil {
			b.tail = nil
		}
		p.put(c)
	}
}

// release drops everything.
func (b *buffer) release(p *chunks) {
	for c := b.head; c != nil; {
		next := c.next
		p.put(c)
		c = next
	}
	*b = buffer{}
}

// gather appends to iov what lies at [offset, offset+n) of the queue.
func (b *buffer) gather(iov []unix.Iovec, offset, n int) []unix.Iovec {
	for c := b.head; c != nil && n > 0; c = c.next {
		have := c.end - c.start
		if offset >= have {
			offset -= have
			continue
		}
		m := min(n, have-offset)
		v := unix.Iovec{Base: &c.mem[c.start+offset]}
		v.SetLen(m)
		iov = append(iov, v)
		offset, n = 0, n-m
	}
	return iov
}
