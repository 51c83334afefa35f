package stack

import (
	"fmt"
	"os"
	"unsafe"

	"bryo/network/rtnl"

	"golang.org/x/sys/unix"
)

// device is the TUN whose far end is the container's default route. Every
// packet on it is preceded by a virtio_net_hdr (see vnet.go), so that one
// read or write carries up to 64 KiB of one TCP stream, although the
// container sees an ordinary MTU.
type device struct {
	fd   int
	name string
}

// TUN is the device that makes them.
const TUN = "/dev/net/tun"

// openDevice makes the TUN. It must run on a thread that is in the
// container's network namespace: a TUN belongs to the namespace of the thread
// that opened it.
func openDevice(name string) (*device, error) {
	fd, err := unix.Open(TUN, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: TUN, Err: err}
	}
	d := &device{fd: fd, name: name}
	if err := d.configure(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return d, nil
}

func (d *device) configure() error {
	req, err := unix.NewIfreq(d.name)
	if err != nil {
		return fmt.Errorf("name device %q: %w", d.name, err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(d.fd, unix.TUNSETIFF, req); err != nil {
		// Not for this user, or not the device that it is called: as if it were missing.
		return &os.PathError{Op: "make a device of", Path: TUN, Err: err}
	}
	const offload = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if err := unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, offload); err != nil {
		return fmt.Errorf("make device %s: TUNSETOFFLOAD: %w", d.name, err)
	}
	return nil
}

// read takes one packet with its virtio header. Nothing there is EAGAIN.
//
// The raw system call is on purpose: the descriptor never blocks, so telling
// Go's scheduler about each call costs more than it saves.
func (d *device) read(b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(d.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (d *device) writev(iov []unix.Iovec) error {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(d.fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Device makes the TUN and brings it and lo up, with addresses and default
// routes. It runs on a thread in the container's or the router's namespace; the
// descriptor is for Serve.
func Device(cfg Config) (int, error) {
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	d, err := openDevice(cfg.Device)
	if err != nil {
		return -1, err
	}
	index, err := rtnl.Index(cfg.Device)
	if err == nil {
		err = rtnl.Submit(attachment(&cfg, index)...)
	}
	if err != nil {
		unix.Close(d.fd)
		return -1, fmt.Errorf("set up device %s: %w", cfg.Device, err)
	}
	return d.fd, nil
}

// attachment is what has to be asked from the kernel, in order.
func attachment(cfg *Config, index int) []*rtnl.Request {
	plan := []*rtnl.Request{rtnl.Up(rtnl.Loopback), rtnl.NoLinkLocal(index).Soft(), rtnl.MTU(index, cfg.MTU), rtnl.Up(index)}
	for i, a := range cfg.Addresses {
		family := []*rtnl.Request{rtnl.Address(index, a), rtnl.DefaultRoute(index, cfg.Gateways[i])}
		if cfg.Router { // its address is the bridge's
			family = []*rtnl.Request{rtnl.DefaultDevice(index, a.Addr().Is4())}
		}
		for _, r := range family {
			if a.Addr().Is6() { // the kernel may have none
				r.Soft()
			}
			plan = append(plan, r)
		}
	}
	return plan
}
