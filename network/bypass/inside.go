package bypass

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// door is a thread that stands in the container's network namespace and opens
// what must belong there.
type door struct {
	work    chan func()
	changes int // netlink: addresses come and go
}

func openDoor(namespace *os.File) (*door, error) {
	d := &door{work: make(chan func()), changes: -1}
	entered := make(chan error, 1)
	fd := int(namespace.Fd())
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Setns(fd, unix.CLONE_NEWNET)
		entered <- os.NewSyscallError("enter network namespace: setns", err)
		if err != nil {
			return
		}
		for work := range d.work {
			work()
		}
	}()
	if err := <-entered; err != nil {
		return nil, err
	}
	err := d.subscribe()
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// do runs work on the thread inside.
func (d *door) do(work func() error) (err error) {
	done := make(chan struct{})
	d.work <- func() { err = work(); close(done) }
	<-done
	return err
}

func (d *door) close() {
	close(d.work)
	if d.changes >= 0 {
		unix.Close(d.changes)
	}
}

// socket makes a socket of the container's namespace.
func (d *door) socket(domain, kind, protocol int) (fd int, err error) {
	err = d.do(func() error {
		fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	return fd, err
}

// subscribe asks to hear of new and lost addresses.
func (d *door) subscribe() error {
	fd, err := d.socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("open netlink", err)
	}
	d.changes = fd
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	return os.NewSyscallError("bind netlink", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
}

// drain throws the messages away: that there were some is what counts.
func (d *door) drain() {
	var b [4096]byte
	for {
		if _, _, err := unix.Recvfrom(d.changes, b[:], 0); err != nil && err != unix.ENOBUFS && err != unix.EINTR {
			return
		}
	}
}

// cookie names the namespace in SO_NETNS_COOKIE; 0 on kernels before 5.14.
func (d *door) cookie() (cookie uint64, err error) {
	err = d.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		cookie, _ = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return nil
	})
	return cookie, err
}

// wall is what belongs to the container: connections to it stay inside.
type wall struct {
	addresses []netip.Addr
	subnets   []netip.Prefix
}

// wall reads the addresses of the namespace. Those in single do not stand for
// their subnet.
func (d *door) wall(single []netip.Addr) (w wall, err error) {
	var list []net.Addr
	err = d.do(func() error {
		list, err = net.InterfaceAddrs()
		return err
	})
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		w.addresses = append(w.addresses, p.Addr())
		if !slices.Contains(single, p.Addr()) {
			w.subnets = append(w.subnets, p.Masked())
		}
	}
	return w, err
}

// own: the container itself has this address.
func (w wall) own(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified() || slices.Contains(w.addresses, a)
}

// holds: the address is the container's or on one of its networks.
func (w wall) holds(a netip.Addr) bool {
	return w.own(a) || slices.ContainsFunc(w.subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}
