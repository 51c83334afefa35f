package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

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
