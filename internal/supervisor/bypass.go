package supervisor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/network"
	"bryo/network/bypass"
	"bryo/network/port"
	"bryo/network/stack"
	"bryo/seccomp"
)

// bypassing says what of a filter the container's network asks for.
func (s *supervisor) bypassing() seccomp.Bypass {
	for _, n := range s.config.Host.Networks {
		if n.Name == state.NetworkBypass {
			if len(s.config.Host.Publish) > 0 {
				return seccomp.BypassOn | seccomp.BypassNames
			}
			return seccomp.BypassOn
		}
	}
	return 0
}

// startBypass starts the handler of the container's calls on sockets, beside the
// network that takes what it leaves inside.
func (s *supervisor) startBypass(namespace *os.File, n state.Network, a network.Attachment) (*bypass.Handler, error) {
	if err := seccomp.BypassSupported(); err != nil {
		return nil, fmt.Errorf("network %s: %w", n.Name, err)
	}
	cfg := bypass.Config{
		Namespace: namespace,
		Allows:    stack.Policy{HostLoopback: n.HostLoopback, Metadata: n.Metadata}.Allows,
		Own:       addresses(a.Addresses()),
	}
	if n.HostLoopback {
		cfg.Gateways = a.Gateways()
	}
	var err error
	if cfg.Ports, err = reserved(s.ports); err != nil {
		return nil, err
	}
	return bypass.New(cfg)
}

// reserved are the published ports, each with a descriptor for the handler: they
// outlive it when the container is started again.
func reserved(set *port.Set) (list []bypass.Port, err error) {
	for _, s := range set.Sockets() {
		p := bypass.Port{Container: s.Port, Host: netip.AddrPortFrom(s.HostIP, s.First)}
		if p.Reserved, err = unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return nil, fmt.Errorf("publish %s: %w", s.Host(), err)
		}
		list = append(list, p)
	}
	return list, nil
}

func addresses(prefixes []netip.Prefix) (list []netip.Addr) {
	for _, p := range prefixes {
		list = append(list, p.Addr())
	}
	return list
}

// listener hands the listener of a process's filter to the handler; nil where the
// filter has none.
func (s *supervisor) listener(b seccomp.Bypass) func(*os.File) error {
	if b == 0 {
		return nil
	}
	return func(f *os.File) error {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("seccomp listener: %w", err)
		}
		l, err := seccomp.NewListener(fd)
		if err != nil {
			return err
		}
		_ = l.PreferSync() // kernel 6.6; only makes it faster
		if s.wires.bypass == nil {
			l.Close()
			return errors.New("network bypass: not started")
		}
		return s.wires.bypass.Add(calls{l, fd})
	}
}

// calls is a listener of package seccomp in the words of package bypass.
type calls struct {
	*seccomp.Listener
	fd int
}

func (c calls) FD() int { return c.fd }

func (c calls) TryReceive() (bypass.Call, bool, error) {
	n, ok, err := c.Listener.TryReceive()
	return bypass.Call{ID: n.ID, TID: int(n.PID), Nr: int(n.Data.Nr), Args: n.Data.Args}, ok, err
}

func (c calls) AddFD(id uint64, fd, at int, cloexec, answer bool) (int, error) {
	return c.Listener.AddFD(id, fd, seccomp.FDOptions{Number: at, Replace: at >= 0, CloExec: cloexec, Answer: answer})
}

var _ bypass.Calls = calls{}
