package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience with one attempt on the network.
const patience = 5 * time.Second

// outcome is the name of an error number, "timeout" or the error's text.
func outcome(err error) string {
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return errnoName(errno)
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return err.Error()
}

// dial connects to each HOST:PORT over tcp and prints how that went.
func dial(addresses []string) error {
	for _, a := range addresses {
		c, err := net.DialTimeout("tcp", a, patience)
		if err == nil {
			c.Close()
		}
		fmt.Println(a, outcome(err))
	}
	return nil
}

// talk sends the words to HOST:PORT over the network (tcp, udp) of its first
// argument and prints what comes back first. FROM is the address to send from.
func talk(a []string) error {
	d := net.Dialer{Timeout: patience}
	if from := os.Getenv("FROM"); from != "" && a[0] == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	} else if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial(a[0], a[1])
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = fmt.Fprintln(c, strings.Join(a[2:], " "))
	}
	answer := make([]byte, 64<<10)
	n := 0
	if err == nil {
		n, err = c.Read(answer)
	}
	if err != nil && err != io.EOF {
		fmt.Println(outcome(err))
		return nil
	}
	fmt.Print(string(answer[:n]))
	return nil
}

// peer answers on a port, TCP and UDP, IPv4 and IPv6, with the address that it
// sees at the other end.
func peer(a []string) error {
	port, family := a[0], ""
	if len(a) > 1 {
		family = a[1] // 4 or 6 only
	}
	tcp, err := net.Listen("tcp"+family, ":"+port)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp"+family, ":"+port)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		b := make([]byte, 64<<10)
		for {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte("udp "+plain(from)+"\n"), from)
		}
	}()
	for {
		c, err := tcp.Accept()
		if err != nil {
			return err
		}
		go func() {
			// To close with a request unread would reset the connection.
			_ = c.SetDeadline(time.Now().Add(patience))
			fmt.Fprintln(c, "tcp", plain(c.RemoteAddr()))
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}()
	}
}

// plain is the address without the port.
func plain(a net.Addr) string {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	return p.Addr().Unmap().String()
}

// ping asks each address for an echo, as a user without raw sockets.
func ping(addresses []string) error {
	for _, a := range addresses {
		fmt.Println(a, outcome(echo(a)))
	}
	return nil
}

func echo(address string) error {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	family, protocol, request := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	var to unix.Sockaddr = &unix.SockaddrInet4{}
	if a.Is4() {
		to = &unix.SockaddrInet4{Addr: a.As4()}
	} else {
		family, protocol, request = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
		to = &unix.SockaddrInet6{Addr: a.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(patience))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte{request, 0, 0, 0, 0, 0, 0, 1}); err != nil {
		return err
	}
	_, err = unix.Read(fd, make([]byte, 1500))
	if err == unix.EAGAIN {
		return os.ErrDeadlineExceeded
	}
	return err
}

// resolve looks each name up and prints its addresses.
func resolve(names []string) error {
	for _, name := range names {
		list, err := net.LookupHost(name)
		if err != nil {
			fmt.Println(name, err)
			continue
		}
		fmt.Println(name, strings.Join(list, " "))
	}
	return nil
}

// connects opens and closes N connections to HOST:PORT, one after another.
func connects(a []string) error {
	n, err := strconv.Atoi(a[1])
	if err != nil {
		return err
	}
	for i := range n {
		c, err := net.DialTimeout("tcp", a[0], patience)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		c.Close()
	}
	fmt.Println("done", n)
	return nil
}

// asks sends N DNS questions for a name to HOST:PORT.
func asks(a []string) error {
	n, err := strconv.Atoi(a[2])
	if err != nil {
		return err
	}
	return questions(a[0], a[1], n)
}

// flood sends N requests to HOST:PORT that nobody waits for: connections that are
// begun and reset over tcp, datagrams from ever new ports over udp.
func flood(a []string) error {
	to, err := netip.ParseAddrPort(a[1])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(a[2])
	if err != nil {
		return err
	}
	kind := unix.SOCK_STREAM
	if a[0] == "udp" {
		kind = unix.SOCK_DGRAM
	}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
		if err == nil && kind == unix.SOCK_DGRAM {
			_, _ = unix.Write(fd, []byte("x"))
		}
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
	}
	fmt.Println("sent", n)
	return nil
}
