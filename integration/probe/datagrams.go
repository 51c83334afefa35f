package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

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
