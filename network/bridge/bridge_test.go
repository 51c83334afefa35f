package bridge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/network"
)

// TestMain is also the helper, the router and a box: a process that stands for a
// container's supervisor, root of a user namespace of its own.
func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case Role:
		os.Exit(Main())
	case RouterRole:
		os.Exit(RouterMain())
	case "reader":
		reader()
		os.Exit(0)
	case "box":
		box()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// reader says what a helper can do with files, and what it can call.
func reader() {
	dir := os.Args[2]
	_, outside := os.ReadFile(filepath.Join(filepath.Dir(dir), "secret"))
	_, own := os.ReadFile(filepath.Join(dir, "own"))
	write := os.WriteFile(filepath.Join(filepath.Dir(dir), "planted"), nil, 0o600)
	_, resolv := os.ReadFile("/etc/resolv.conf")
	fmt.Println("confine", dropCalls())
	run := exec.Command("/bin/true").Run()
	var mount error = unix.Mount("none", "/", "tmpfs", 0, "")
	fmt.Println(own, os.IsPermission(outside), os.IsPermission(write), resolv, os.IsPermission(run), mount == unix.EPERM)
}

// TestConfined: a helper reads its own folder and the resolvers, writes nowhere else,
// and runs nothing.
func TestConfined(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "own"), filepath.Join(filepath.Dir(dir), "secret")} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe", "x", dir)
	cmd.Env = []string{envRole + "=reader", envKeep + "=" + dir}
	out, err := cmd.CombinedOutput()
	if want := "confine <nil>\n<nil> true true <nil> true true\n"; err != nil || string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
}

// box attaches a namespace to the network and does what its input says.
func box() {
	dir, name, ip := os.Args[1], os.Args[2], os.Args[3]
	line, err := Open(dir, func(err error) { fmt.Println("changed", err) })
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	ns, err := network.NewNamespace()
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	r := Request{ID: strings.Repeat(name, 64)[:64], Name: name, Aliases: []string{"alias-" + name}, Link: "eth0"}
	if name == "lo" {
		r.Link = name // a name that another device has
	}
	r.IP, _ = netip.ParseAddr(ip)
	place, err := line.Attach(ns, r, true)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	within := func(f func() error) error { return network.OnNamespace(int(ns.Fd()), f) }
	_ = within(func() error {
		l, err := net.Listen("tcp", ":7")
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "this is %s", name)
				c.Close()
			}
		}()
		return nil
	})
	fmt.Println("ready", place.Addresses(), place.Gateways(), place.Link())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		switch words[0] {
		case "dial":
			fmt.Println(dialFrom(within, words[1]))
		case "resolve":
			fmt.Println(resolveFrom(within, place.DNS()[0], words[1]))
		case "close":
			fmt.Println("closed", place.Close())
		}
	}
}

func dialFrom(within func(func() error) error, to string) (text string) {
	_ = within(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			text = err.Error()
			return nil
		}
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		at := netip.MustParseAddrPort(to)
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 5})
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
			text = err.Error()
			return nil
		}
		b, _ := io.ReadAll(f)
		text = string(b)
		return nil
	})
	return text
}

func resolveFrom(within func(func() error) error, server netip.Addr, name string) string {
	r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (c net.Conn, err error) {
		err = within(func() (err error) {
			c, err = net.Dial("udp", netip.AddrPortFrom(server, 53).String())
			return err
		})
		return c, err
	}}
	list, err := r.LookupHost(context.Background(), name)
	return fmt.Sprint(list, err)
}

type process struct {
	*exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startBox(t *testing.T, dir, name, ip string) *process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", dir, name, ip)
	cmd.Env = []string{envRole + "=box"}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Skip("no user namespaces: ", err)
	}
	p := &process{cmd, in, bufio.NewScanner(out)}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return p
}

func (p *process) say(line string) string {
	if line != "" {
		fmt.Fprintln(p.in, line)
	}
	p.out.Scan()
	return p.out.Text()
}

func TestNetwork(t *testing.T) {
	root := t.TempDir()
	store := NewStore(root)
	c, err := store.Create(CreateOptions{Name: "front", IPv4: true, Subnets: []string{"10.77.0.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := store.Path(c.Name)
	hold, err := Ensure(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, b := startBox(t, dir, "a", ""), startBox(t, dir, "b", "10.77.0.9")
	if got := a.say(""); got != "ready [10.77.0.2/24] [10.77.0.1] eth0" {
		t.Fatalf("a: %s\n%s", got, logOf(dir))
	}
	if got := b.say(""); got != "ready [10.77.0.9/24] [10.77.0.1] eth0" {
		t.Fatalf("b: %s", got)
	}
	hold.Release()
	expect := func(p *process, question, want string) {
		t.Helper()
		if got := p.say(question); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q\n%s", question, got, want, logOf(dir))
		}
	}
	expect(a, "dial 10.77.0.9:7", "this is b")
	expect(a, "resolve b", "[10.77.0.9] <nil>")
	expect(b, "resolve alias-a", "[10.77.0.2] <nil>")
	expect(b, "resolve a.front", "[10.77.0.2] <nil>")
	expect(a, "dial 10.77.0.200:7", "no route to host")
	expect(a, "dial 10.77.0.1:22", "connection refused") // the router, not the host
	if err := store.Remove(c); err == nil || !strings.Contains(err.Error(), `network front has active endpoints (name:"`) {
		t.Errorf("removed while in use: %v", err)
	}
	third := startBox(t, dir, "c", "10.77.0.9")
	expect(third, "", "Address already in use")

	// Who has no room for the device keeps nobody waiting.
	startBox(t, dir, "lo", "10.77.0.77")
	for end := time.Now().Add(3 * time.Second); a.say("resolve lo") != "[10.77.0.77] <nil>"; {
		if time.Now().After(end) {
			t.Fatal("the network waits for one container's device")
		}
	}

	killHelper(t, dir)
	deadline := time.Now().Add(10 * time.Second)
	for got := ""; got != "[10.77.0.9] <nil>"; got = a.say("resolve b") {
		if time.Now().After(deadline) {
			t.Fatalf("not back after the helper was killed: %s\n%s", got, logOf(dir))
		}
	}
	expect(a, "dial 10.77.0.9:7", "this is b")
	expect(a, "close", "closed <nil>")
	expect(b, "resolve a", "no such host")
	// A container that starts again has its place at once, though the supervisor of
	// its last run still holds it; what that one does with it no longer counts.
	again := startBox(t, dir, "b", "10.77.0.9")
	expect(again, "", "ready [10.77.0.9/24]")
	_ = b.Process.Kill()
	_ = b.Wait()
	expect(again, "resolve b", "[10.77.0.9] <nil>")
	for _, p := range []*process{a, again, third} {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, socketName)); os.IsNotExist(err) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the helper stays without containers")
		}
	}
	if err := store.Remove(c); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(root, "networks")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// killHelper kills the process that answers on the socket, not its keeper.
func killHelper(t *testing.T, dir string) {
	t.Helper()
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range entries {
		text, _ := os.ReadFile(path)
		comm, _ := os.ReadFile(filepath.Dir(path) + "/comm")
		if string(text) == "bryo\x00"+Role+"\x00"+dir+"\x00" && !strings.HasPrefix(string(comm), "bryo-keeper") {
			var pid int
			fmt.Sscanf(path, "/proc/%d", &pid)
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no helper found")
}

func logOf(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, "helper.log"))
	return "helper: " + string(text)
}

// TestCutLineCloses: also between two attempts to reach a helper again.
func TestCutLineCloses(t *testing.T) {
	l := &Line{dir: t.TempDir(), closed: make(chan struct{}), changed: func(error) {}}
	l.Close()
	if _, err := l.reconnect(); err != nil {
		t.Errorf("a closed line connects again: %v", err)
	}
}
