package bypass

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// toInside exchanges a socket of the host for one of the container's namespace,
// under all numbers that the caller's process has for it. s is the new one then.
func (h *Handler) toInside(p *pending, s *socket) error {
	flags, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	fd, err := h.inside.socket(s.domain, s.kind|flags&unix.O_NONBLOCK, s.protocol)
	if err != nil {
		return err
	}
	if err := p.exchange(s, fd); err != nil {
		unix.Close(fd)
		return err
	}
	s.close()
	s.fd, s.host = fd, false
	return nil
}

// exchange puts our descriptor fd where the caller has the socket s. A socket that
// waits in an epoll instance would silently fall out of it, so it is entered anew
// with the same events and data.
func (p *pending) exchange(s *socket, fd int) error {
	copyOptions(s, fd)
	places, err := p.places(s)
	if err != nil {
		return err
	}
	for _, at := range places.numbers {
		if _, err := p.from.AddFD(p.ID, fd, at.number, at.cloexec, false); err != nil {
			return err
		}
	}
	for _, watch := range places.watches {
		p.rewatch(watch, s.fd, fd)
	}
	return nil
}

// option is one that a program may set before it says where a socket leads.
type option struct{ level, name int }

var (
	commonOptions = [...]option{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.SOL_SOCKET, unix.SO_REUSEPORT}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		{unix.SOL_SOCKET, unix.SO_BROADCAST}, {unix.SOL_SOCKET, unix.SO_OOBINLINE}, {unix.SOL_SOCKET, unix.SO_TIMESTAMP_OLD},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_OLD}, {unix.SOL_SOCKET, unix.SO_RXQ_OVFL}, {unix.SOL_SOCKET, unix.SO_BUSY_POLL},
		{unix.SOL_SOCKET, unix.SO_ZEROCOPY},
	}
	inetOptions = [...]option{
		{unix.IPPROTO_IP, unix.IP_TOS}, {unix.IPPROTO_IP, unix.IP_TTL}, {unix.IPPROTO_IP, unix.IP_MTU_DISCOVER},
		{unix.IPPROTO_IP, unix.IP_PKTINFO}, {unix.IPPROTO_IP, unix.IP_RECVERR}, {unix.IPPROTO_IP, unix.IP_RECVTTL},
		{unix.IPPROTO_IP, unix.IP_RECVTOS}, {unix.IPPROTO_IP, unix.IP_FREEBIND}, {unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL}, {unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP},
	}
	inet6Options = [...]option{
		{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}, {unix.IPPROTO_IPV6, unix.IPV6_RECVERR},
		{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}, {unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT},
		{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}, {unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER},
		{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS}, {unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP},
	}
	tcpOptions = [...]option{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}, {unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT},
		{unix.IPPROTO_TCP, unix.TCP_SYNCNT}, {unix.IPPROTO_TCP, unix.TCP_FASTOPEN}, {unix.IPPROTO_TCP, unix.TCP_CORK},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT},
	}
	udpOptions = [...]option{{unix.IPPROTO_UDP, unix.UDP_GRO}, {unix.IPPROTO_UDP, unix.UDP_SEGMENT}}
)

// copyOptions gives a socket what the program set on the one before. An option
// that this kernel lacks was not set either.
func copyOptions(s *socket, to int) {
	lists := [][]option{commonOptions[:], inetOptions[:]}
	if s.domain == unix.AF_INET6 {
		lists = append(lists, inet6Options[:])
	}
	if s.tcp() {
		lists = append(lists, tcpOptions[:])
	} else {
		lists = append(lists, udpOptions[:])
	}
	for _, list := range lists {
		for _, o := range list {
			was, err := unix.GetsockoptInt(s.fd, o.level, o.name)
			if err != nil {
				continue
			}
			if is, err := unix.GetsockoptInt(to, o.level, o.name); err == nil && is != was {
				_ = unix.SetsockoptInt(to, o.level, o.name, was)
			}
		}
	}
	copyBuffers(s.fd, to)
	copyTimes(s.fd, to)
}

// copyBuffers: the kernel tells twice what was asked for, socket(7), and stops to
// tune a buffer that was set.
func copyBuffers(from, to int) {
	for _, name := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		was, err1 := unix.GetsockoptInt(from, unix.SOL_SOCKET, name)
		is, err2 := unix.GetsockoptInt(to, unix.SOL_SOCKET, name)
		if err1 == nil && err2 == nil && was != is {
			_ = unix.SetsockoptInt(to, unix.SOL_SOCKET, name, was/2)
		}
	}
}

func copyTimes(from, to int) {
	for _, name := range []int{unix.SO_SNDTIMEO_NEW, unix.SO_RCVTIMEO_NEW} {
		if tv, err := unix.GetsockoptTimeval(from, unix.SOL_SOCKET, name); err == nil && tv.Nano() > 0 {
			_ = unix.SetsockoptTimeval(to, unix.SOL_SOCKET, name, tv)
		}
	}
	if l, err := getLinger(from); err == nil && l.Onoff != 0 {
		_ = unix.SetsockoptLinger(to, unix.SOL_SOCKET, unix.SO_LINGER, &l)
	}
}

// places is where a process has a socket.
type places struct {
	numbers []place
	watches []watch
}

type place struct {
	number  int
	cloexec bool
}

// watch is an entry of an epoll instance of the process.
type watch struct {
	epoll  int // the instance, in the caller
	number int // under which the socket was entered
	events uint32
	data   uint64
}

// They bound how long one exchange may take, and how much of our memory: duplicates
// times epoll instances may be millions. What is beyond falls out.
const (
	maxPlaces  = 4096
	maxWatches = 256
	maxInfo    = 1 << 20 // bytes read of what an epoll instance has
)

// places looks through the caller's descriptors: for others of the same socket,
// and for epoll instances that hold it.
func (p *pending) places(s *socket) (found places, err error) {
	dir := "/proc/" + strconv.Itoa(p.TID) + "/fd"
	own, err := linkOf("/proc/thread-self/fd/" + strconv.Itoa(s.fd))
	if err != nil {
		return found, unix.EIO
	}
	entries, err := os.Open(dir)
	if err != nil {
		if gone := p.valid(); gone != nil {
			return found, gone
		}
		return found, unix.EPERM
	}
	defer entries.Close()
	names, _ := entries.Readdirnames(maxPlaces)
	if err := p.valid(); err != nil {
		return found, err
	}
	// The number of the call itself may be beyond maxPlaces.
	found.numbers = []place{{s.number, p.closesOnExec(s.number)}}
	var epolls []int
	for _, name := range names {
		number, err := strconv.Atoi(name)
		if err != nil || number == s.number {
			continue
		}
		switch link, _ := linkOf(dir + "/" + name); {
		case link == own:
			found.numbers = append(found.numbers, place{number, p.closesOnExec(number)})
		case link == "anon_inode:[eventpoll]":
			epolls = append(epolls, number)
		}
	}
	ours := map[int]bool{}
	for _, place := range found.numbers {
		ours[place.number] = true
	}
	for _, epoll := range epolls {
		room := maxWatches - len(found.watches)
		if room == 0 {
			break
		}
		list := p.watchesOf(epoll, ours)
		found.watches = append(found.watches, list[:min(room, len(list))]...)
	}
	return found, p.valid()
}

func linkOf(path string) (string, error) {
	var b [64]byte
	n, err := unix.Readlink(path, b[:])
	return string(b[:max(n, 0)]), err
}

func (p *pending) fdinfo(number int) string {
	f, err := os.Open(fmt.Sprintf("/proc/%d/fdinfo/%d", p.TID, number))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxInfo))
	return string(text[:bytes.LastIndexByte(text, '\n')+1]) // no half of a line
}

func (p *pending) closesOnExec(number int) bool {
	flags, _ := strconv.ParseUint(field(p.fdinfo(number), "flags:"), 8, 64)
	return flags&unix.O_CLOEXEC != 0
}

// field is the word behind a name in a file of /proc.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// watchesOf reads an epoll instance: proc_pid_fdinfo(5) has
// "tfd:        5 events:       1d data:                5 pos:0 ino:61af sdev:7".
func (p *pending) watchesOf(epoll int, ours map[int]bool) (list []watch) {
	for line := range strings.Lines(p.fdinfo(epoll)) {
		words := strings.Fields(line)
		if len(words) < 6 || words[0] != "tfd:" {
			continue
		}
		number, _ := strconv.Atoi(words[1])
		events, err1 := strconv.ParseUint(words[3], 16, 32)
		data, err2 := strconv.ParseUint(words[5], 16, 64)
		if err1 == nil && err2 == nil && ours[number] {
			list = append(list, watch{epoll, number, uint32(events), data})
		}
	}
	return list
}

// rewatch enters the new socket into an epoll instance of the caller. An entry is
// named by file and number, and the number is looked up in the table of whoever
// enters it: that is a thread of ours with a table of its own, in which the new
// socket has the caller's number.
func (p *pending) rewatch(w watch, old, fd int) {
	instance, err := p.descriptor(uint64(w.epoll))
	if err != nil {
		return
	}
	defer unix.Close(instance)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the table ends with the thread
		if unix.Unshare(unix.CLONE_FILES) != nil {
			return
		}
		w.move(instance, old, fd)
	}()
	<-done
}

// move runs on the thread with its own table. The three descriptors it needs may
// stand at the very number that it needs, so they go above it first.
func (w watch) move(instance, old, fd int) {
	var high [3]int
	for i, from := range []int{instance, old, fd} {
		to, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, w.number+1)
		if err != nil {
			return
		}
		high[i] = to
	}
	event := unix.EpollEvent{Events: w.events, Fd: int32(uint32(w.data)), Pad: int32(uint32(w.data >> 32))}
	if unix.Dup3(high[1], w.number, unix.O_CLOEXEC) == nil {
		_ = unix.EpollCtl(high[0], unix.EPOLL_CTL_DEL, w.number, nil)
	}
	if unix.Dup3(high[2], w.number, unix.O_CLOEXEC) == nil {
		_ = unix.EpollCtl(high[0], unix.EPOLL_CTL_ADD, w.number, &event)
	}
}
