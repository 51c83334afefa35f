package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// names prints the ends of a connection.
func names(a []string) error {
	c, err := net.DialTimeout(a[0], a[1], patience)
	if err != nil {
		return onlyErrno(err)
	}
	defer c.Close()
	fmt.Println("local", hostOf(c.LocalAddr()))
	fmt.Println("remote", c.RemoteAddr())
	return nil
}

// threads makes N connections from as many system threads at once.
func threads(a []string) error {
	n, err := strconv.Atoi(a[2])
	if err != nil {
		return err
	}
	var done sync.WaitGroup
	var failed atomic.Int32
	for range n {
		done.Go(func() {
			runtime.LockOSThread()
			fd, err := blockingSocket(a[1], unix.SOCK_STREAM)
			if err == nil {
				err = unix.Connect(fd, sockaddr(a[1]))
			}
			if err == nil {
				err = askOn(fd)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, onlyErrno(err))
				failed.Add(1)
			}
			unix.Close(fd)
		})
	}
	done.Wait()
	fmt.Println("failed", failed.Load())
	return nil
}

func sockaddr(addr string) unix.Sockaddr {
	p := netip.MustParseAddrPort(addr)
	if p.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(p.Port()), Addr: p.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(p.Port()), Addr: p.Addr().As16()}
}

func blockingSocket(addr string, kind int) (int, error) {
	family := unix.AF_INET6
	if netip.MustParseAddrPort(addr).Addr().Is4() {
		family = unix.AF_INET
	}
	return unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
}

// askOn sends a line on a socket and waits for an answer.
func askOn(fd int) error {
	tv := unix.NsecToTimeval(int64(patience))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if _, err := unix.Write(fd, []byte("hello\n")); err != nil {
		return err
	}
	b := make([]byte, 256)
	n, err := unix.Read(fd, b)
	if err == nil && !strings.HasPrefix(string(b[:n]), "echo ") {
		err = fmt.Errorf("answer %q", b[:n])
	}
	return err
}

// polled enters a socket into epoll before it connects, as nginx does, once more
// under a second number, and waits for both.
func polled(a []string) error {
	fd, err := blockingSocket(a[0], unix.SOCK_STREAM|unix.SOCK_NONBLOCK)
	if err != nil {
		return err
	}
	again, err := unix.Dup(fd)
	if err != nil {
		return err
	}
	poller, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	for _, n := range []int{fd, again} {
		// Data that is no descriptor number must come back as it was.
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET&0xffffffff, Fd: int32(1000 + n), Pad: 77}
		if err := unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, n, &event); err != nil {
			return err
		}
	}
	if err := unix.Connect(fd, sockaddr(a[0])); err != nil && err != unix.EINPROGRESS {
		return onlyErrno(err)
	}
	seen := map[int32]bool{}
	for end := time.Now().Add(patience); len(seen) < 2; {
		if time.Now().After(end) {
			return fmt.Errorf("epoll says nothing of %d sockets", 2-len(seen))
		}
		var events [8]unix.EpollEvent
		n, err := unix.EpollWait(poller, events[:], 100)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if e.Pad == 77 && e.Events&unix.EPOLLOUT != 0 {
				seen[e.Fd-1000] = true
			}
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || code != 0 {
		return onlyErrno(errors.Join(err, syscall.Errno(code)))
	}
	// The other number is the same connection.
	if err := unix.SetNonblock(again, false); err != nil {
		return err
	}
	if err := unix.EpollCtl(poller, unix.EPOLL_CTL_MOD, again, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return fmt.Errorf("change the entry: %w", err)
	}
	return talkOn(again)
}

func talkOn(fd int) error {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	return converse(f)
}

// inherit lets a child connect a socket that its parent made, and talks on the
// parent's descriptor.
func inherit(a []string) error {
	if len(a) > 1 {
		return onlyErrno(unix.Connect(3, sockaddr(a[0])))
	}
	fd, err := blockingSocket(a[0], unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "socket")
	cmd := exec.Command("/proc/self/exe", "inherit", a[0], "child")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{f}, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	return talkOn(fd)
}

// options sets some on a socket, connects it, and looks whether they are still set.
func options(a []string) error {
	fd, err := blockingSocket(a[0], unix.SOCK_STREAM|unix.SOCK_NONBLOCK)
	if err != nil {
		return err
	}
	set := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 33},
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, {unix.IPPROTO_IP, unix.IP_TOS, 16}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 4000},
	}
	for _, o := range set {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return err
		}
	}
	linger := unix.Linger{Onoff: 1, Linger: 7}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger); err != nil {
		return err
	}
	if err := unix.Connect(fd, sockaddr(a[0])); err != nil && err != unix.EINPROGRESS {
		return onlyErrno(err)
	}
	for _, o := range set {
		if v, err := unix.GetsockoptInt(fd, o.level, o.name); err != nil || v != o.value {
			return fmt.Errorf("option %d of %d is %d, not %d (%v)", o.name, o.level, v, o.value, err)
		}
	}
	status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || status&unix.O_NONBLOCK == 0 {
		return fmt.Errorf("status flags %#x (%v)", status, err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		return fmt.Errorf("descriptor flags %#x (%v)", flags, err)
	}
	fmt.Println("same")
	return nil
}

// full listens and never accepts, with its queue full: who connects waits.
func full(a []string) error {
	at := sockaddr(a[0])
	fd, err := blockingSocket(a[0], unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, at); err != nil {
		return err
	}
	if err := unix.Listen(fd, 0); err != nil {
		return err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	for range 4 {
		c, err := blockingSocket(a[0], unix.SOCK_STREAM|unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		_ = unix.Connect(c, name)
	}
	time.Sleep(200 * time.Millisecond)
	if err := os.WriteFile(a[1], []byte(endOf(name).String()), 0o644); err != nil {
		return err
	}
	time.Sleep(time.Hour)
	return nil
}

// impatient connects to such a server: blocking with a limit, which ends it, and
// while signals come, which do not.
func impatient(a []string) error {
	fd, err := blockingSocket(a[0], unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	tv := unix.NsecToTimeval(int64(700 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_ = unix.Kill(os.Getpid(), unix.SIGURG) // Go's own, and harmless
			}
		}
	}()
	start := time.Now()
	err = unix.Connect(fd, sockaddr(a[0]))
	close(stop)
	took := time.Since(start)
	if err == nil || took < 600*time.Millisecond || took > patience {
		return fmt.Errorf("%v after %v", err, took)
	}
	fmt.Println(errnoName(err.(syscall.Errno)))
	return nil
}

// crowded connects a socket while the process has a[1] other descriptors and more.
func crowded(a []string) error {
	n, err := strconv.Atoi(a[1])
	if err != nil {
		return err
	}
	for range n {
		if _, err := unix.Dup(1); err != nil {
			return err
		}
	}
	fd, err := blockingSocket(a[0], unix.SOCK_STREAM)
	if err == nil {
		err = unix.Connect(fd, sockaddr(a[0]))
	}
	if err != nil {
		return onlyErrno(err)
	}
	return talkOn(fd)
}
