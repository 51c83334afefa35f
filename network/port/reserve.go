package port

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reserve is Open for programs that bind TCP sockets of the host themselves
// (package bypass). The ports are bound, so that one in use is known before the
// container starts, and nobody listens: until the program does, clients are
// refused. Sockets of others that set SO_REUSEADDR may bind the same port, as long
// as none listens. Serve serves UDP alone then.
func Reserve(mappings, before []Mapping) (*Set, error) {
	return (&Set{silent: true}).openAll(mappings, before)
}

// Socket is a reserved TCP port's, bound; it stays the Set's.
type Socket struct {
	Mapping
	FD int
}

// Sockets are the reserved TCP ports.
func (s *Set) Sockets() (list []Socket) {
	if s == nil {
		return nil
	}
	for _, l := range s.list {
		if l.mapping.Protocol != UDP {
			list = append(list, Socket{l.mapping, l.fd})
		}
	}
	return list
}

// lastRun is how long the sockets of a container's last run may take to be gone: a
// process that is killed closes them a moment after it is missed.
const lastRun = 2 * time.Second

// reserve binds a port, and waits for one that the container itself had before.
func (s *Set) reserve(fd, domain, _ int, at netip.AddrPort) error {
	ours := slices.ContainsFunc(s.before, func(m Mapping) bool { return m.First == at.Port() && m.Protocol != UDP })
	for end := time.Now().Add(lastRun); ; time.Sleep(10 * time.Millisecond) {
		err := bindQuietly(fd, domain, at)
		if !ours || !errors.Is(err, unix.EADDRINUSE) || time.Now().After(end) {
			return err
		}
	}
}

// bindQuietly binds without SO_REUSEADDR first: with it, two reservations of one port
// would both succeed. Connections of a container that has just ended are the
// exception: they hold a port for a minute and are not in the way.
func bindQuietly(fd, domain int, at netip.AddrPort) error {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	if domain == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	err := unix.Bind(fd, sockaddr(at))
	if reuse := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); reuse != nil {
		return os.NewSyscallError("setsockopt", reuse)
	}
	if errors.Is(err, unix.EADDRINUSE) && onlyConnections(at.Port()) {
		err = unix.Bind(fd, sockaddr(at))
	}
	return err
}

// onlyConnections: what holds the port is connections, and no listener. Sockets
// that are bound and nothing more are not in these tables: then it is false.
func onlyConnections(port uint16) bool {
	const listening = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	connections := false
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) < 4 || !strings.HasSuffix(words[1], suffix) {
				continue
			}
			if words[3] == listening {
				return false
			}
			connections = true
		}
	}
	return connections
}
