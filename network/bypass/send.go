package bypass

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is a caller's datagram or piece of a stream, copied.
type message struct {
	name    []byte // raw; the kernel's form
	data    []byte
	control []byte
	flags   int
}

const (
	// maxCopy is how much of a stream one call moves; a program gets the count.
	maxCopy = 1 << 20
	// maxVectors is UIO_MAXIOV, the kernel's limit of iovecs and of messages.
	maxVectors = 1024
	// maxControl is what the kernel takes by default (net.core.optmem_max).
	maxControl = 20480
)

// Sizes on 64-bit machines.
const (
	sizeHeader      = 56 // struct msghdr
	sizeBatchHeader = 64 // struct mmsghdr
	offBatchLength  = 56 // its msg_len
)

// sendto carries sendto(2) with an address out.
func (h *Handler) sendto(p *pending, s *socket) {
	m, err := p.plainMessage(s)
	if err == nil {
		err = h.direct(p, s, &m)
	}
	if err != nil {
		p.fail(err)
		return
	}
	h.transmit(p, s, m)
}

// plainMessage reads the arguments of sendto.
func (p *pending) plainMessage(s *socket) (m message, err error) {
	m.flags = int(int32(p.Args[3]))
	if m.data, err = p.readData(s, []unix.RemoteIovec{{Base: uintptr(p.Args[1]), Len: int(p.Args[2])}}); err != nil {
		return m, err
	}
	n := int(int32(p.Args[5]))
	if n < 0 || n > sizeStorage {
		return m, unix.EINVAL
	}
	m.name, err = p.read(p.Args[4], n)
	return m, err
}

// readData copies what the vectors point to.
func (p *pending) readData(s *socket, vectors []unix.RemoteIovec) ([]byte, error) {
	total := 0
	for i := range vectors {
		if vectors[i].Len < 0 {
			return nil, unix.EINVAL
		}
		if total+vectors[i].Len > maxCopy {
			if s.kind != unix.SOCK_STREAM {
				return nil, unix.EMSGSIZE
			}
			vectors[i].Len = maxCopy - total
			vectors = vectors[:i+1]
		}
		if total += vectors[i].Len; total == maxCopy {
			break
		}
	}
	if total == 0 {
		return nil, nil
	}
	data := make([]byte, total)
	p.copied = total
	local := []unix.Iovec{{Base: &data[0]}}
	local[0].SetLen(total)
	n, err := unix.ProcessVMReadv(p.TID, local, vectors, 0)
	if gone := p.valid(); gone != nil {
		return nil, gone
	}
	if err != nil || n != total {
		return nil, unix.EFAULT
	}
	return data, nil
}

// direct judges where a message of an IPv4 or IPv6 socket goes, and replaces the
// name by one of our own making.
func (h *Handler) direct(p *pending, s *socket, m *message) error {
	if s.tcp() { // a stream has its other end already; the kernel ignores the name
		m.name = nil
		return nil
	}
	if len(m.name) == 0 {
		return nil
	}
	a, err := parseAddress(m.name)
	if err != nil {
		return err
	}
	if a.family == unix.AF_UNSPEC {
		if s.domain == unix.AF_INET6 {
			m.name = nil // no address, says the kernel
			return nil
		}
		if a.family = unix.AF_INET; !a.to.IsValid() {
			return unix.EINVAL
		}
	}
	if s.domain == unix.AF_INET && a.family != unix.AF_INET {
		return unix.EAFNOSUPPORT
	}
	if _, outside := h.route(s, a); s.host && !outside {
		if err := h.toInside(p, s); err != nil {
			return err
		}
	}
	m.name = a.bytes()
	return nil
}

// transmit sends a message. A caller that blocks on a full buffer waits.
func (h *Handler) transmit(p *pending, s *socket, m message) {
	n, err := send(s.fd, m)
	if err != unix.EAGAIN || !blocks(s.fd, m.flags) {
		p.sent(n, err, m.flags)
		return
	}
	h.waitFor(p, s, unix.EPOLLOUT, sendTimeout(s.fd), unix.EAGAIN, func(w *wait) bool {
		n, err := send(s.fd, m)
		if err == unix.EAGAIN {
			return false
		}
		w.call.sent(n, err, m.flags)
		return true
	})
}

// sent ends a call that sent, with the signal that comes with a broken stream.
func (p *pending) sent(n int, err error, flags int) {
	if err == nil {
		p.finish(int64(n), 0)
		return
	}
	if isErrno(err, unix.EPIPE) && flags&unix.MSG_NOSIGNAL == 0 && p.pidfd >= 0 {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGPIPE, nil, 0)
	}
	p.fail(err)
}

// blocks: the caller wants to wait.
func blocks(fd, flags int) bool {
	if flags&unix.MSG_DONTWAIT != 0 {
		return false
	}
	status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && status&unix.O_NONBLOCK == 0
}

// passedFlags are those that a caller may hand on. MSG_ZEROCOPY is not among them:
// the pages would be ours.
const passedFlags = unix.MSG_OOB | unix.MSG_DONTROUTE | unix.MSG_EOR | unix.MSG_MORE | unix.MSG_CONFIRM

// send never blocks and never raises SIGPIPE.
func send(fd int, m message) (int, error) {
	if m.flags&unix.MSG_ZEROCOPY != 0 {
		return 0, unix.ENOBUFS // programs copy then
	}
	var header unix.Msghdr
	var vector unix.Iovec
	if len(m.name) > 0 {
		header.Name, header.Namelen = &m.name[0], uint32(len(m.name))
	}
	if len(m.data) > 0 {
		vector.Base = &m.data[0]
		vector.SetLen(len(m.data))
	}
	header.Iov = &vector
	header.SetIovlen(1)
	if len(m.control) > 0 {
		header.Control = &m.control[0]
		header.SetControllen(len(m.control))
	}
	n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&header)),
		uintptr(m.flags&passedFlags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// sendmsg carries sendmsg(2) out.
func (h *Handler) sendmsg(p *pending, s *socket) {
	m, err := h.datagram(p, s, p.Args[1], int(int32(p.Args[2])))
	if err != nil {
		p.fail(err)
		return
	}
	h.transmit(p, s, m)
}

// datagram reads and judges a message of a UDP socket.
func (h *Handler) datagram(p *pending, s *socket, at uint64, flags int) (message, error) {
	m, err := p.message(s, at, flags)
	if err != nil {
		return m, err
	}
	if m.control, err = plainControl(m.control); err != nil {
		return m, err
	}
	return m, h.direct(p, s, &m)
}

// message reads a struct msghdr and all that it points to.
func (p *pending) message(s *socket, at uint64, flags int) (m message, err error) {
	m.flags = flags
	b, err := p.read(at, sizeHeader)
	if err != nil {
		return m, err
	}
	word := func(off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }
	nameLen := int(int32(binary.NativeEndian.Uint32(b[8:])))
	vectors, controlLen := word(24), word(40)
	switch {
	case nameLen < 0:
		return m, unix.EINVAL
	case vectors > maxVectors:
		return m, unix.EMSGSIZE
	case controlLen > maxControl:
		return m, unix.ENOBUFS
	}
	if word(0) != 0 {
		if m.name, err = p.read(word(0), min(nameLen, sizeStorage)); err != nil {
			return m, err
		}
	}
	list, err := p.vectors(word(16), int(vectors))
	if err != nil {
		return m, err
	}
	if m.data, err = p.readData(s, list); err != nil {
		return m, err
	}
	if word(32) != 0 {
		m.control, err = p.read(word(32), int(controlLen))
	}
	return m, err
}

// vectors reads an array of struct iovec.
func (p *pending) vectors(at uint64, n int) ([]unix.RemoteIovec, error) {
	b, err := p.read(at, n*16)
	if err != nil {
		return nil, err
	}
	list := make([]unix.RemoteIovec, n)
	for i := range list {
		base, length := binary.NativeEndian.Uint64(b[i*16:]), binary.NativeEndian.Uint64(b[i*16+8:])
		if length > 1<<47 {
			return nil, unix.EINVAL
		}
		list[i] = unix.RemoteIovec{Base: uintptr(base), Len: int(length)}
	}
	return list, nil
}

// plainControl lets through the control messages of datagrams that say how a
// packet is sent, and none that says where to: IP_RETOPTS and routing headers name
// a first hop that was not judged. What is passed on is made anew from what was
// read: the kernel cannot read it in another way.
func plainControl(control []byte) (plain []byte, err error) {
	if len(control) < unix.SizeofCmsghdr {
		return nil, nil // the kernel sees none either
	}
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, unix.EINVAL
	}
	for _, c := range list {
		switch (option{int(c.Header.Level), int(c.Header.Type)}) {
		case option{unix.IPPROTO_IP, unix.IP_PKTINFO}, option{unix.IPPROTO_IP, unix.IP_TTL}, option{unix.IPPROTO_IP, unix.IP_TOS},
			option{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO}, option{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT},
			option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}, option{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG},
			option{unix.IPPROTO_UDP, unix.UDP_SEGMENT}, option{unix.SOL_SOCKET, unix.SO_TIMESTAMPING_OLD}:
			plain = appendControl(plain, c)
		default:
			return nil, unix.EINVAL
		}
	}
	return plain, nil
}

// sendmmsg carries sendmmsg(2) out, e.g. of glibc's resolver.
func (h *Handler) sendmmsg(p *pending, s *socket) {
	flags := int(int32(p.Args[3]))
	n, err := h.sendBatch(p, s, flags)
	if n > 0 || err != unix.EAGAIN || !blocks(s.fd, flags) {
		p.sentBatch(n, err)
		return
	}
	h.waitFor(p, s, unix.EPOLLOUT, time.Duration(0), unix.EAGAIN, func(w *wait) bool {
		n, err := h.sendBatch(w.call, s, flags)
		if n == 0 && err == unix.EAGAIN {
			return false
		}
		w.call.sentBatch(n, err)
		return true
	})
}

// sentBatch: what came before an error counts.
func (p *pending) sentBatch(n int, err error) {
	if n == 0 && err != nil {
		p.fail(err)
		return
	}
	p.finish(int64(n), 0)
}

func (h *Handler) sendBatch(p *pending, s *socket, flags int) (n int, err error) {
	for n < int(min(p.Args[2]&0xffffffff, maxVectors)) {
		at := p.Args[1] + uint64(n)*sizeBatchHeader
		m, err := h.datagram(p, s, at, flags)
		if err != nil {
			return n, err
		}
		length, err := send(s.fd, m)
		if err != nil {
			return n, err
		}
		if err := p.writeInt(at+offBatchLength, uint32(length)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
