package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// The verbs here are servers and clients as Go programs are; those of connects.go and
// datagrams.go use sockets in the other ways in which programs differ.

// hostAddress prints an address of this machine that is not its loopback.
func hostAddress(a []string) error {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, item := range list {
		p, err := netip.ParsePrefix(item.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() && p.Addr().Is4() == (a[0] == "4") {
			fmt.Println(p.Addr())
			return nil
		}
	}
	return fmt.Errorf("this machine has no IPv%s address", a[0])
}

// serveEcho serves TCP or UDP at an address and answers each line or datagram with
// "echo CLIENT TEXT". With a file it writes its own address there when it listens.
func serveEcho(a []string) error {
	proto, addr := a[0], a[1]
	ready := func(at net.Addr) error {
		if len(a) > 2 {
			return os.WriteFile(a[2], []byte(at.String()), 0o644)
		}
		fmt.Println("listening", at)
		return nil
	}
	if strings.HasPrefix(proto, "udp") {
		return echoDatagrams(proto, addr, ready)
	}
	l, err := net.Listen(proto, addr)
	if err != nil {
		return err
	}
	if err := ready(l.Addr()); err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for s := bufio.NewScanner(c); s.Scan(); {
				fmt.Fprintf(c, "echo %s %s\n", hostOf(c.RemoteAddr()), s.Text())
			}
		}()
	}
}

func hostOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return host
}

func echoDatagrams(proto, addr string, ready func(net.Addr) error) error {
	c, err := net.ListenPacket(proto, addr)
	if err != nil {
		return err
	}
	if err := ready(c.LocalAddr()); err != nil {
		return err
	}
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo([]byte("echo "+hostOf(from)+" "+string(b[:n])), from); err != nil {
			return err
		}
	}
}

// ask connects as Go programs do, and prints the answer to one line.
func ask(a []string) error {
	c, err := net.DialTimeout(a[0], a[1], patience)
	if err != nil {
		return onlyErrno(err)
	}
	defer c.Close()
	if strings.HasPrefix(a[0], "udp") {
		return insist(c)
	}
	return converse(c)
}

// insist sends again what may have been lost: before its server listens, a datagram
// goes nowhere.
func insist(c net.Conn) error {
	b := make([]byte, 256)
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err = io.WriteString(c, "hello\n"); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			var n int
			if n, err = c.Read(b); err == nil {
				fmt.Println(strings.TrimSpace(string(b[:n])))
				return nil
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return onlyErrno(err)
		}
	}
	return onlyErrno(err)
}

func converse(c io.ReadWriter) error {
	if d, ok := c.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(patience))
	}
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return onlyErrno(err)
	}
	b := make([]byte, 256)
	n, err := c.Read(b)
	if err != nil {
		return onlyErrno(err)
	}
	fmt.Println(strings.TrimSpace(string(b[:n])))
	return nil
}

// onlyErrno leaves the errno of an error.
func onlyErrno(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errors.New(errnoName(errno))
	}
	return err
}
