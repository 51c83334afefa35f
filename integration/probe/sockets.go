package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	"unsafe"

	"golang.org/x/sys/unix"
)

// The verbs of this file are servers and clients that use sockets in the ways in
// which programs differ.

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

// datagrams sends one datagram in each of the ways there are, and prints the
// answers with where they come from.
func datagrams(a []string) error {
	to := sockaddr(a[0])
	fd, err := blockingSocket(a[0], unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	tv := unix.NsecToTimeval(int64(patience))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	for _, way := range []struct {
		name string
		send func() error
	}{
		{"sendto", func() error { return unix.Sendto(fd, []byte("sendto"), 0, to) }},
		{"sendmsg", func() error {
			_, err := unix.SendmsgBuffers(fd, [][]byte{[]byte("send"), []byte("msg")}, nil, to, 0)
			return err
		}},
		{"sendmmsg", func() error { return sendBatch(fd, a[0]) }},
		{"connect", func() error {
			if err := unix.Connect(fd, to); err != nil {
				return err
			}
			_, err := unix.Write(fd, []byte("connect"))
			return err
		}},
	} {
		if err := way.send(); err != nil {
			return fmt.Errorf("%s: %w", way.name, onlyErrno(err))
		}
		b := make([]byte, 256)
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, onlyErrno(err))
		}
		fmt.Println(string(b[:n]), "from", endOf(from))
	}
	return nil
}

func endOf(s unix.Sockaddr) netip.AddrPort {
	switch a := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// rawAddress is an address in memory of ours, as the kernel takes it.
func rawAddress(addr string) []byte {
	p := netip.MustParseAddrPort(addr)
	if p.Addr().Is4() {
		b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, p.Port())
		return append(append(b, p.Addr().AsSlice()...), make([]byte, 8)...)
	}
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, p.Port())
	b = append(b, 0, 0, 0, 0)
	return append(append(b, p.Addr().AsSlice()...), 0, 0, 0, 0)
}

type batch struct {
	header unix.Msghdr
	length uint32
	_      uint32
}

func sendBatch(fd int, addr string) error {
	name, text := rawAddress(addr), []byte("sendmmsg")
	vector := unix.Iovec{Base: &text[0], Len: uint64(len(text))}
	m := batch{header: unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Iov: &vector, Iovlen: 1}}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), 1, 0, 0, 0)
	runtime.KeepAlive(name)
	switch {
	case errno != 0:
		return errno
	case n != 1 || int(m.length) != len(text):
		return fmt.Errorf("%d messages, %d bytes", n, m.length)
	}
	return nil
}

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

// local talks over a Unix socket with itself, and passes a file. Like every Go
// program it has several threads.
func local(a []string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	name := &unix.SockaddrUnix{Name: a[0]}
	if err := unix.Bind(fd, name); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 5); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- localClient(name) }()
	c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	cred, err := unix.GetsockoptUcred(c, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	b, oob := make([]byte, 64), make([]byte, 64)
	n, oobn, _, _, err := unix.Recvmsg(c, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("no descriptor came (%v)", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	text, err := io.ReadAll(os.NewFile(uintptr(fds[0]), "passed"))
	if err != nil {
		return err
	}
	fmt.Println("echo", string(b[:n]), string(text))
	fmt.Println("peer", cred.Uid, cred.Pid)
	return <-failed
}

func localClient(name *unix.SockaddrUnix) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, name); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	_, _ = unix.Write(pipe[1], []byte("with a file"))
	unix.Close(pipe[1])
	err = unix.Sendmsg(fd, []byte("hello"), unix.UnixRights(pipe[0]), nil, 0)
	if err != nil {
		err = fmt.Errorf("sendmsg: %w", err)
	}
	return err
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
