package port

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Set is a container's published ports, listening. Its methods may be called
// from several goroutines.
type Set struct {
	mu      sync.Mutex // guards what follows
	list    []*listener
	serving *serving // nil while the container does not run
	silent  bool     // see Reserve
	before  []Mapping
}

// listener is one socket of the host.
type listener struct {
	mapping Mapping // as opened
	fd      int
}

// queue is the length of the line of clients that wait to be accepted:
// net.core.somaxconn bounds it.
const queue = 4096

// Open listens on everything, or on nothing: the error names the port and the
// cure, and nothing of the others stays. A port that the kernel is to choose is
// again the one of before, the ports of the last run, if nobody else has it now.
func Open(mappings, before []Mapping) (*Set, error) { return (&Set{}).openAll(mappings, before) }

func (s *Set) openAll(mappings, before []Mapping) (*Set, error) {
	s.before = before
	for _, m := range mappings {
		if m.First == 0 && s.again(m, before) {
			continue
		}
		if err := s.open(m); err != nil {
			s.Close()
			return nil, fmt.Errorf("publish %s: %w", wanted(m), err)
		}
	}
	return s, nil
}

func (s *Set) again(m Mapping, before []Mapping) bool {
	for _, old := range before {
		if old.Port == m.Port && old.Protocol == m.Protocol && (!m.HostIP.IsValid() || m.HostIP == old.HostIP) {
			return s.openAt(m, old.First) == nil
		}
	}
	return false
}

func wanted(m Mapping) string {
	ip := m.HostIP
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	if m.First == 0 {
		return m.Container() + " on any port"
	}
	return netip.AddrPortFrom(ip, m.First).String() + "/" + m.Protocol
}

// open tries the ports of a range in turn; 0 lets the kernel choose.
func (s *Set) open(m Mapping) error {
	last := max(m.First, m.Last)
	for n := m.First; ; n++ {
		err := s.openAt(m, n)
		// Of two families the second may find the first one's choice taken: choose again.
		for try := 0; n == 0 && errors.Is(err, unix.EADDRINUSE) && try < 16; try++ {
			err = s.openAt(m, n)
		}
		if err == nil || n == last || !errors.Is(err, unix.EADDRINUSE) {
			return advise(err, m, n)
		}
	}
}

// openAt opens one port on the mapping's address, or on both families' all.
func (s *Set) openAt(m Mapping, n uint16) error {
	if m.HostIP.IsValid() {
		l, err := s.listen(m, m.HostIP, n)
		if err == nil {
			s.list = append(s.list, l)
		}
		return err
	}
	four, err4 := s.listen(m, netip.IPv4Unspecified(), n)
	if err4 != nil && !noFamily(err4) {
		return err4
	}
	if four != nil {
		n = four.mapping.First
	}
	six, err6 := s.listen(m, netip.IPv6Unspecified(), n)
	if err6 != nil && (four == nil || !noFamily(err6)) {
		if four != nil {
			unix.Close(four.fd)
		}
		return err6
	}
	for _, l := range []*listener{four, six} {
		if l != nil {
			s.list = append(s.list, l)
		}
	}
	return nil
}

// noFamily: the host has one of IPv4 and IPv6 only.
func noFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}

func (s *Set) listen(m Mapping, ip netip.Addr, n uint16) (*listener, error) {
	domain, kind := unix.AF_INET, unix.SOCK_STREAM
	if ip.Is6() {
		domain = unix.AF_INET6
	}
	if m.Protocol == UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	take := bind
	if s.silent && kind == unix.SOCK_STREAM {
		take = s.reserve
	}
	if err := take(fd, domain, kind, netip.AddrPortFrom(ip, n)); err != nil {
		unix.Close(fd)
		return nil, err
	}
	opened := m
	opened.HostIP, opened.First, opened.Last = ip, n, 0
	if n == 0 {
		if opened.First, err = portOf(fd); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return &listener{mapping: opened, fd: fd}, nil
}

func bind(fd, domain, kind int, at netip.AddrPort) error {
	if domain == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if kind == unix.SOCK_STREAM {
		// Connections of a container that has just ended do not hold the port.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		return err
	}
	if kind == unix.SOCK_STREAM {
		return unix.Listen(fd, queue)
	}
	return nil
}

func portOf(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return addrPort(sa).Port(), nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// advise adds the cure to what the kernel says.
func advise(err error, m Mapping, n uint16) error {
	proto := m.Protocol
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("port is already allocated: address already in use: publish another port, or end what holds it (ss -lnp --%s 'sport = :%d' shows it)", proto, n)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		start := firstFree()
		return fmt.Errorf("permission denied: ports below %d are root's on this host: publish one from there on, or: sudo sysctl net.ipv4.ip_unprivileged_port_start=%d", start, n)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("cannot assign requested address: this host has no such address (ip addr shows those it has)")
	}
	return err
}

// firstFree is the first port that a user may bind.
func firstFree() int {
	b, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 1024
	}
	return n
}

// Mappings are the ports as they are open.
func (s *Set) Mappings() []Mapping {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Mapping
	for _, l := range s.list {
		list = append(list, l.mapping)
	}
	Sort(list)
	return list
}

// Close frees the ports at once.
func (s *Set) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause()
	for _, l := range s.list {
		unix.Close(l.fd)
	}
	s.list = nil
}
