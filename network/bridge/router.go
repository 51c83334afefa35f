package bridge

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/network/rtnl"
	"bryo/network/stack"
)

// bridgeIndex and firstPort are the numbers of links in the router's namespace:
// chosen here, so that nobody has to look them up.
const (
	bridgeName  = "bridge0"
	bridgeIndex = 100
	firstPort   = 1000
	uplinkName  = "uplink"
)

// router is the network's namespace as the helper has it: descriptors only.
type router struct {
	namespace *os.File // keeps it alive
	netlink   *os.File // rtnetlink in it
	uplink    *os.File // the TUN; nil: no way out
	datagram  []*os.File
	stream    []*os.File // name server sockets, one pair per gateway
	warning   string
}

// handover says which descriptors come with it, in this order.
type handover struct {
	Uplink  bool   `json:"uplink,omitempty"`
	Servers int    `json:"servers"`
	Warning string `json:"warning,omitempty"`
}

// newRouter starts the child that makes the namespace. It is root of a user
// namespace with one id, which the namespace belongs to from then on; this process
// made that and so has every right over it (user_namespaces(7)).
func newRouter(dir string) (*router, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "router")
	ours, err := connOf(pair[0])
	if err != nil {
		theirs.Close()
		return nil, err
	}
	defer ours.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"bryo", RouterRole, dir}
	cmd.Env = []string{envRole + "=" + RouterRole}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("make user and network namespace: %w", err)
	}
	defer func() { _ = cmd.Wait() }()
	return receiveRouter(ours)
}

func connOf(fd int) (conn, error) {
	f := os.NewFile(uintptr(fd), "router")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return conn{}, err
	}
	return conn{c.(*net.UnixConn)}, nil
}

func receiveRouter(c conn) (*router, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	m, files, err := c.receive()
	switch {
	case err == io.EOF:
		err = errors.New("the process ended early")
	case err == nil && m.Failed != "":
		err = errors.New(m.Failed)
	case err == nil && m.Router == nil:
		err = errors.New("the answer makes no sense")
	}
	if err != nil {
		linux.CloseAll(files)
		return nil, fmt.Errorf("make router: %w", err)
	}
	h := m.Router
	want := 2 + 2*h.Servers
	if h.Uplink {
		want++
	}
	if len(files) != want {
		linux.CloseAll(files)
		return nil, fmt.Errorf("make router: %d descriptors instead of %d", len(files), want)
	}
	out := &router{namespace: files[0], netlink: files[1], warning: h.Warning}
	files = files[2:]
	if h.Uplink {
		out.uplink, files = files[0], files[1:]
	}
	for ; len(files) > 0; files = files[2:] {
		out.datagram, out.stream = append(out.datagram, files[0]), append(out.stream, files[1])
	}
	return out, nil
}

// RouterMain is the child's process: root of the router's user namespace.
func RouterMain() int {
	c, err := connOf(3)
	if err != nil {
		return 1
	}
	h, files, err := makeRouter(os.Args[len(os.Args)-1])
	if err != nil {
		_ = c.send(message{Failed: err.Error()})
		return 1
	}
	if c.send(message{Router: &h}, files...) != nil {
		return 1
	}
	return 0
}

func makeRouter(dir string) (h handover, files []*os.File, err error) {
	c, err := load(dir)
	if err != nil {
		return h, nil, err
	}
	if err := rtnl.Submit(routerPlan(c)...); err != nil {
		return h, nil, err
	}
	routerSettings()
	namespace, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return h, nil, err
	}
	netlink, err := rtnl.Socket()
	if err != nil {
		return h, nil, err
	}
	files = []*os.File{namespace, os.NewFile(uintptr(netlink), "netlink")}
	if !c.Internal {
		fd, err := stack.Device(uplinkConfig(c))
		if err != nil {
			h.Warning = "no way out of network " + c.Name + ": " + err.Error() + " (bryo doctor has the cure)"
		} else {
			h.Uplink = true
			files = append(files, os.NewFile(uintptr(fd), "uplink"))
		}
	}
	for _, s := range c.Subnets {
		pair, err := nameSockets(s.Gateway)
		if err != nil {
			if s.Gateway.Is6() {
				continue // the host has no IPv6
			}
			return h, nil, err
		}
		h.Servers++
		files = append(files, pair...)
	}
	return h, files, nil
}

// routerPlan is the bridge with the network's gateways.
func routerPlan(c *Config) []*rtnl.Request {
	plan := []*rtnl.Request{rtnl.Up(rtnl.Loopback), rtnl.Bridge(bridgeName, bridgeIndex, hardwareAddress(c.Subnets[0].Gateway)), rtnl.MTU(bridgeIndex, c.MTU())}
	if !c.IPv6 {
		plan = append(plan, rtnl.NoLinkLocal(bridgeIndex).Soft())
	}
	plan = append(plan, rtnl.Up(bridgeIndex))
	for _, s := range c.Subnets {
		address := rtnl.Address(bridgeIndex, netip.PrefixFrom(s.Gateway, s.Prefix.Bits()))
		if s.Gateway.Is6() {
			address = address.Soft()
		}
		plan = append(plan, address)
	}
	return plan
}

// routerSettings: packets pass between bridge and uplink, and what comes from the
// bridge must have an address of it (rp_filter: an answer would go back there).
// Where /proc/sys cannot be written, the network has no way out.
func routerSettings() {
	for _, s := range [][2]string{
		{"ipv4/ip_forward", "1"},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/" + bridgeName + "/rp_filter", "1"},
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/" + bridgeName + "/send_redirects", "0"},
		{"ipv4/conf/all/accept_redirects", "0"},
		{"ipv4/conf/" + bridgeName + "/accept_redirects", "0"},
		{"ipv6/conf/all/forwarding", "1"},
		{"ipv6/conf/" + bridgeName + "/accept_ra", "0"},
	} {
		_ = os.WriteFile("/proc/sys/net/"+s[0], []byte(s[1]), 0)
	}
}

// uplinkConfig is the stack behind the router.
func uplinkConfig(c *Config) stack.Config {
	cfg := stack.Config{Device: uplinkName, MTU: c.MTU(), Router: true}
	cfg.Policy = stack.Policy{HostLoopback: c.HostLoopback(), Metadata: c.on(OptionMetadata)}
	for _, s := range c.Subnets {
		cfg.Addresses, cfg.Gateways = append(cfg.Addresses, s.Prefix), append(cfg.Gateways, s.Gateway)
	}
	return cfg
}

// nameSockets are where containers ask for names: UDP and TCP.
func nameSockets(gateway netip.Addr) ([]*os.File, error) {
	at := netip.AddrPortFrom(gateway, 53)
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	defer udp.Close()
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	defer tcp.Close()
	u, err := udp.File()
	if err != nil {
		return nil, err
	}
	t, err := tcp.File()
	return []*os.File{u, t}, err
}

// hardwareAddress is made from the address, as docker's are: a container that
// starts again is found by those who remember it.
func hardwareAddress(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return net.HardwareAddr{0x02, 0x42, b[12], b[13], b[14], b[15]}
}
