// Command probe is the program of the fixture image "probe": static, alone in
// its root directory, it tells what a process in a container sees. Its first
// argument is a word of the table below; it prints plain lines for scripts.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	verbs := map[string]func([]string) error{
		"args": args, "env": environment, "fds": descriptors, "status": status, "exit": exit, "kill": killSelf,
		"spew": spew, "cat": cat, "size": size, "signals": signals, "calls": calls, "sockets": sockets, "limits": limits,
		"mounts": mounts, "hello": hello, "host-address": hostAddress, "echo": serveEcho, "ask": ask, "names": names, "threads": threads,
		"polled": polled, "crowded": crowded, "inherit": inherit, "datagrams": datagrams, "race": race, "swap": swap, "secret": secret, "options": options, "local": local, "full": full, "impatient": impatient,
		"sweep": sweep, "call": call, "foreign": foreign, "exes": exes, "seize": seize, "loot": loot, "shm": shm, "ioctls": ioctls,
		"dial": dial, "talk": talk, "peer": peer, "ping": ping, "resolve": resolve, "connects": connects,
		"nameserver": nameServer, "question": question, "asks": asks, "flood": flood, "advertise": advertise,
	}
	verb := "hello"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	f, ok := verbs[verb]
	if !ok {
		fmt.Fprintln(os.Stderr, "probe: no verb", verb)
		os.Exit(64)
	}
	if err := f(os.Args[min(2, len(os.Args)):]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(65)
	}
}

func hello([]string) error {
	fmt.Println("hello from scratch")
	return nil
}

func args(a []string) error {
	for _, s := range a {
		fmt.Printf("%q\n", s)
	}
	return nil
}

func environment([]string) error {
	env := os.Environ()
	sort.Strings(env)
	for _, s := range env {
		fmt.Printf("%q\n", s)
	}
	return nil
}

// descriptors prints the open ones, without that of the directory it reads
// and those that Go's poller opens.
func descriptors([]string) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(target, "/proc/") || strings.Contains(target, "eventpoll") || strings.Contains(target, "eventfd") {
			continue
		}
		kind, _, _ := strings.Cut(target, ":")
		fmt.Println(e.Name(), kind)
	}
	return nil
}

// status prints the given fields of /proc/self/status.
func status(fields []string) error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for _, want := range fields {
		for line := range strings.SplitSeq(string(b), "\n") {
			if value, ok := strings.CutPrefix(line, want+":"); ok {
				fmt.Println(want, strings.Join(strings.Fields(value), " "))
			}
		}
	}
	return nil
}

func exit(a []string) error {
	code, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

func killSelf(a []string) error {
	n, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	sig := syscall.Signal(n)
	signal.Reset(sig)
	// PID 1 of a namespace ignores signals that it has no handler for: a child
	// would be needed; exit as a shell reports it.
	if os.Getpid() == 1 {
		os.Exit(128 + n)
	}
	return syscall.Kill(os.Getpid(), sig)
}

// spew writes N bytes of every value to stdout.
func spew(a []string) error {
	n, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	block := make([]byte, 1<<16)
	for i := range block {
		block[i] = byte(i)
	}
	for n > 0 {
		chunk := block[:min(n, len(block))]
		if _, err := os.Stdout.Write(chunk); err != nil {
			return err
		}
		n -= len(chunk)
	}
	return nil
}

func cat([]string) error {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}

func size([]string) error {
	w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	if err != nil {
		return err
	}
	fmt.Println(w.Row, w.Col)
	return nil
}

// signals prints the name of each signal until SIGTERM.
func signals([]string) error {
	c := make(chan os.Signal, 64)
	signal.Notify(c)
	fmt.Println("ready")
	for s := range c {
		if s == unix.SIGURG {
			continue // Go's own preemption
		}
		fmt.Println(unix.SignalName(s.(syscall.Signal)))
		if s == unix.SIGTERM {
			return nil
		}
	}
	return nil
}

// calls tries what a container must not be able to do and prints each result.
func calls([]string) error {
	runtime.LockOSThread()
	attr := make([]byte, 256)
	p := uintptr(unsafe.Pointer(&attr[0]))
	path := []byte("/\x00")
	for _, c := range []struct {
		name       string
		number     uintptr
		a, b, d, e uintptr
	}{
		{"unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0, 0},
		{"setns", unix.SYS_SETNS, 0, 0, 0, 0},
		{"clone3", unix.SYS_CLONE3, p, 88, 0, 0},
		{"mount", unix.SYS_MOUNT, uintptr(unsafe.Pointer(&path[0])), uintptr(unsafe.Pointer(&path[0])), 0, unix.MS_BIND},
		{"keyctl", unix.SYS_KEYCTL, 0, 0, 0, 0},
		{"add_key", unix.SYS_ADD_KEY, 0, 0, 0, 0},
		{"bpf", unix.SYS_BPF, 0, p, 64, 0},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, p, 0, ^uintptr(0), 0},
		{"userfaultfd", unix.SYS_USERFAULTFD, 0, 0, 0, 0},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, 1, p, 0, 0},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, p, 0, 0},
		{"kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0},
		{"init_module", unix.SYS_INIT_MODULE, 0, 0, 0, 0},
		{"reboot", unix.SYS_REBOOT, 0, 0, 0, 0},
		{"settimeofday", unix.SYS_SETTIMEOFDAY, p, 0, 0, 0},
		{"personality", unix.SYS_PERSONALITY, 0x0040000, 0, 0, 0},
	} {
		_, _, errno := unix.RawSyscall6(c.number, c.a, c.b, c.d, c.e, 0, 0)
		fmt.Println(c.name, errnoName(errno))
	}
	return nil
}

func errnoName(e syscall.Errno) string {
	if e == 0 {
		return "ok"
	}
	return unix.ErrnoName(e)
}

// sockets tries address families.
func sockets([]string) error {
	for _, f := range []struct {
		name         string
		family, kind int
	}{{"unix", unix.AF_UNIX, unix.SOCK_STREAM}, {"inet", unix.AF_INET, unix.SOCK_STREAM}, {"inet6", unix.AF_INET6, unix.SOCK_STREAM},
		{"netlink", unix.AF_NETLINK, unix.SOCK_RAW}, {"alg", unix.AF_ALG, unix.SOCK_SEQPACKET}, {"vsock", unix.AF_VSOCK, unix.SOCK_STREAM},
		{"packet", unix.AF_PACKET, unix.SOCK_RAW}, {"bluetooth", unix.AF_BLUETOOTH, unix.SOCK_RAW}} {
		fd, err := unix.Socket(f.family, f.kind, 0)
		if err == nil {
			unix.Close(fd)
			fmt.Println(f.name, "ok")
			continue
		}
		fmt.Println(f.name, errnoName(err.(syscall.Errno)))
	}
	return nil
}

func limits([]string) error {
	for _, l := range []struct {
		name     string
		resource int
	}{{"core", unix.RLIMIT_CORE}, {"nofile", unix.RLIMIT_NOFILE}, {"nproc", unix.RLIMIT_NPROC}} {
		var r unix.Rlimit
		if err := unix.Getrlimit(l.resource, &r); err != nil {
			return err
		}
		fmt.Println(l.name, r.Cur, r.Max)
	}
	return nil
}

func mounts([]string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return err
}
