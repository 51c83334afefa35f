package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// target is an address of the playing host that is neither loopback nor the
// address of its uplink: pasta gives the container the uplink's own address.
const (
	target4 = "10.99.0.1"
	target6 = "fd99::1"
)

// enterWorld starts this program again as root of a new user and network
// namespace.
func enterWorld(args []string) error {
	cmd := exec.Command("/proc/self/exe", append([]string{"world"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// buildHost gives the playing host an uplink, the target addresses (all of
// target4's network, see rate) and a large port range, so that TIME_WAIT does not
// bound the rate.
func buildHost() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	// A veth pair with nobody at its far end: not every kernel has dummies.
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "wire"}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	uplink, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	wire, err := netlink.LinkByName("wire")
	if err != nil {
		return err
	}
	for _, l := range []netlink.Link{lo, uplink, wire} {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	for _, a := range []struct {
		link netlink.Link
		cidr string
	}{{lo, target4 + "/24"}, {lo, target6 + "/128"}, {uplink, "10.77.0.1/24"}, {uplink, "fd77::1/64"}} {
		addr, err := netlink.ParseAddr(a.cidr)
		if err != nil {
			return err
		}
		addr.Flags = 0x02 // IFA_F_NODAD
		if err := netlink.AddrAdd(a.link, addr); err != nil {
			return fmt.Errorf("add %s: %w", a.cidr, err)
		}
	}
	for _, gw := range []string{"10.77.0.254", "fd77::ff"} {
		r := &netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: net.ParseIP(gw)}
		if err := netlink.RouteAdd(r); err != nil {
			return fmt.Errorf("route %s: %w", gw, err)
		}
	}
	os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0)
	os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0)
	return nil
}

// child starts a role of this program and waits for the first line it prints.
func child(flags uintptr, args ...string) (*exec.Cmd, string, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, "", fmt.Errorf("%s: no answer: %w", args[0], err)
	}
	return cmd, strings.TrimSpace(line), nil
}

// pause holds the namespaces of a container open until its parent is gone.
func pause() error {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// inside runs a command in the user and network namespace of process pid, or
// in the playing host itself for pid 0, and returns what it printed.
func inside(pid int, args ...string) (string, error) {
	if pid != 0 {
		args = append([]string{"nsenter", "-t", strconv.Itoa(pid), "-U", "-n", "--preserve-credentials"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s %s", strings.Join(args, " "), err, stderr.String(), out)
	}
	return strings.TrimSpace(string(out)), nil
}
