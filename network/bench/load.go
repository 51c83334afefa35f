package main

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The load is made by blocking system calls on locked threads, so that Go's
// own poller adds nothing to what is measured.

// serve answers every connection on args[0] until it ends, echoing each read.
func serve(args []string) error {
	addr, domain, err := sockaddr(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, addr); err != nil {
		return fmt.Errorf("bind %s: %w", args[0], err)
	}
	if err := unix.Listen(fd, 1024); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, _, err := unix.Accept(fd)
		if err != nil {
			return err
		}
		go echo(c)
	}
}

func echo(fd int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer unix.Close(fd)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if n <= 0 || err != nil {
			return
		}
		unix.Write(fd, buf[:n])
	}
}

// ping sends one byte and waits for it, args[1] times; prints the median in
// microseconds.
func ping(args []string) error {
	n, _ := strconv.Atoi(args[1])
	runtime.LockOSThread()
	fd, err := dial(args[0])
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	times := make([]time.Duration, n)
	var b [1]byte
	for i := range times {
		t := time.Now()
		if err := exchange(fd, b[:]); err != nil {
			return err
		}
		times[i] = time.Since(t)
	}
	slices.Sort(times)
	fmt.Printf("%.2f\n", float64(times[n/2].Nanoseconds())/1000)
	return nil
}

// connect opens, uses for one byte and closes args[1] connections, one after
// another; prints connections per second.
func connect(args []string) error {
	n, _ := strconv.Atoi(args[1])
	runtime.LockOSThread()
	var b [1]byte
	start := time.Now()
	for i := range n {
		fd, err := dial(args[0])
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if err := exchange(fd, b[:]); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		unix.Close(fd)
	}
	fmt.Printf("%.0f\n", float64(n)/time.Since(start).Seconds())
	return nil
}

func exchange(fd int, b []byte) error {
	if _, err := unix.Write(fd, b); err != nil {
		return err
	}
	if n, err := unix.Read(fd, b); err != nil || n == 0 {
		return fmt.Errorf("read: %d %v", n, err)
	}
	return nil
}

func dial(to string) (int, error) {
	addr, domain, err := sockaddr(to)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, addr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect %s: %w", to, err)
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, nil
}

func sockaddr(s string) (unix.Sockaddr, int, error) {
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		return nil, 0, err
	}
	if ip := a.IP.To4(); ip != nil {
		return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip)}, unix.AF_INET, nil
	}
	return &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP.To16())}, unix.AF_INET6, nil
}
