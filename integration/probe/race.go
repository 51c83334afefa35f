package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// race connects again and again while another thread exchanges the address
// between one that is allowed and one that is not; it prints how often the
// forbidden server answered.
func race(a []string) error {
	kind, good, bad := a[0], rawAddress(a[1]), rawAddress(a[2])
	tries, err := strconv.Atoi(a[3])
	if err != nil {
		return err
	}
	shared := make([]byte, len(good))
	copy(shared, good)
	var stop atomic.Bool
	defer stop.Store(true)
	for _, name := range [][]byte{good, bad} {
		go func() {
			runtime.LockOSThread()
			for !stop.Load() {
				copy(shared, name)
			}
		}()
	}
	wins, answers := 0, 0
	for range tries {
		reached, err := raceOnce(kind, shared, netip.MustParseAddrPort(a[1]).Addr().Is4())
		switch {
		case err == nil && reached:
			wins++
		case err == nil:
			answers++
		}
	}
	fmt.Println("wins", wins)
	if answers == 0 {
		return errors.New("the allowed server never answered")
	}
	return nil
}

// raceOnce reports whether it was the forbidden server that answered: it says
// "secret".
func raceOnce(kind string, name []byte, v4 bool) (bool, error) {
	family, typ := unix.AF_INET6, unix.SOCK_STREAM
	if v4 {
		family = unix.AF_INET
	}
	if kind != "connect" {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	tv := unix.NsecToTimeval(int64(20 * time.Millisecond))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	text := []byte("hello\n")
	vector := unix.Iovec{Base: &text[0], Len: uint64(len(text))}
	header := unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Iov: &vector, Iovlen: 1}
	var errno syscall.Errno
	switch kind {
	case "connect":
		_, _, errno = unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)))
		if errno == 0 {
			_, err = unix.Write(fd, text)
		}
	case "sendto":
		_, _, errno = unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), 0,
			uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)))
	case "sendmsg":
		_, _, errno = unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&header)), 0)
	}
	if errno != 0 || err != nil {
		return false, errors.Join(errno, err)
	}
	b := make([]byte, 256)
	n, err := unix.Read(fd, b)
	if err != nil {
		return false, err
	}
	return strings.Contains(string(b[:n]), "secret"), nil
}

// swap lets one thread connect a Unix socket and send on it while another puts a
// socket of the network under its number: a call that was let through for what it
// was must not become another. The address in memory is one and the same for both.
func swap(a []string) error {
	bad := rawAddress(a[0])
	tries, err := strconv.Atoi(a[1])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	other, err := unix.Dup(fd)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	defer stop.Store(true)
	go func() {
		runtime.LockOSThread()
		for !stop.Load() {
			// A new one each time: the handler takes a socket inside that it sees.
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				continue
			}
			for range 100 {
				_ = unix.Dup3(s, fd, unix.O_CLOEXEC)
				_ = unix.Dup3(other, fd, unix.O_CLOEXEC)
			}
			unix.Close(s)
		}
	}()
	text := []byte("hello\n")
	vector := unix.Iovec{Base: &text[0], Len: uint64(len(text))}
	header := unix.Msghdr{Name: &bad[0], Namelen: uint32(len(bad)), Iov: &vector, Iovlen: 1}
	for range tries {
		_, _, _ = unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&header)), unix.MSG_DONTWAIT)
		_, _, _ = unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&bad[0])), uintptr(len(bad)))
	}
	fmt.Println("done")
	return nil
}

// secret is a server that nobody in a container may reach. It writes a line for
// each client it has.
func secret(a []string) error {
	log, err := os.OpenFile(a[1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", a[0])
	if err != nil {
		return err
	}
	datagrams, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		return err
	}
	if err := os.WriteFile(a[2], []byte(l.Addr().String()), 0o644); err != nil {
		return err
	}
	go func() {
		for b := make([]byte, 2048); ; {
			_, from, err := datagrams.ReadFrom(b)
			if err != nil {
				return
			}
			fmt.Fprintln(log, "reached by udp")
			_, _ = datagrams.WriteTo([]byte("secret"), from)
		}
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(log, "reached by tcp")
		_, _ = io.WriteString(c, "secret\n")
		c.Close()
	}
}
