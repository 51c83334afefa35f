package stack

import (
	"net/netip"
)

// reassembly puts datagrams together that the container's kernel cut to the
// MTU of the device. It is as strict as RFC 5722: pieces that overlap spoil
// the whole.
type reassembly struct {
	list []*pieces // oldest first
}

// pieces is a datagram in the making.
type pieces struct {
	src, dst netip.Addr
	ident    uint32
	proto    uint8
	since    instant
	size     int // of the whole body; 0: the last piece is not here yet
	have     int // bytes
	spans    []span
	body     []byte
}

type span struct{ from, to int }

// maxSpans bounds the pieces of one datagram: 64 KiB at the smallest MTU that
// IPv6 knows.
const maxSpans = 64

// add takes a fragment and returns the whole when it is complete.
func (r *reassembly) add(p packet, now instant) (packet, bool) {
	r.expire(now)
	end := p.offset + len(p.body)
	if len(p.body) == 0 || end > 1<<16-1 || p.more && len(p.body)%8 != 0 {
		return p, false
	}
	i := r.find(&p)
	if i < 0 {
		if len(r.list) >= maxFragmented {
			r.remove(0)
		}
		r.list = append(r.list, &pieces{src: p.src, dst: p.dst, ident: p.ident, proto: p.proto, since: now})
		i = len(r.list) - 1
	}
	d := r.list[i]
	if !d.put(p.offset, p.body, p.more) {
		r.remove(i)
		return p, false
	}
	if d.size == 0 || d.have < d.size {
		return p, false
	}
	r.remove(i)
	p.body, p.proto = d.body[:d.size], d.proto
	p.whole, p.fragment, p.more, p.offset = nil, false, false, 0
	return p, true
}

// put stores one piece and reports whether it fits to the others.
func (d *pieces) put(offset int, body []byte, more bool) bool {
	end := offset + len(body)
	for _, s := range d.spans {
		if s.from == offset && s.to == end {
			return true // the same again
		}
		if offset < s.to && s.from < end {
			return false
		}
	}
	if len(d.spans) >= maxSpans || d.size != 0 && (!more || end > d.size) {
		return false
	}
	if !more {
		for _, s := range d.spans {
			if s.to > end {
				return false
			}
		}
		d.size = end
	}
	if len(d.body) < end {
		d.body = append(d.body, make([]byte, end-len(d.body))...)
	}
	copy(d.body[offset:], body)
	d.spans = append(d.spans, span{offset, end})
	d.have += len(body)
	return true
}

func (r *reassembly) find(p *packet) int {
	for i, d := range r.list {
		if d.ident == p.ident && d.src == p.src && d.dst == p.dst && (d.proto == p.proto || p.src.Is6()) {
			return i
		}
	}
	return -1
}

func (r *reassembly) remove(i int) {
	r.list = append(r.list[:i], r.list[i+1:]...)
}

// expire forgets datagrams whose pieces do not come.
func (r *reassembly) expire(now instant) {
	for len(r.list) > 0 && now-r.list[0].since > int64(fragmentTimeout) {
		r.remove(0)
	}
}
