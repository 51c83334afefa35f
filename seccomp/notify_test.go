package seccomp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a process that goes under a filter, which
// the testing process itself could never leave.
const childEnv = "BRYO_SECCOMP_TEST_CHILD"

func TestMain(m *testing.M) {
	children := map[string]func() error{"install": installedChild, "notify": notifyingChild, "gone": goneChild}
	if run, ok := children[os.Getenv(childEnv)]; ok {
		if err := run(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, role string, extra ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.ExtraFiles = extra
	return cmd
}

// installedChild is a Go program with threads, sockets and children under the
// default policy.
func installedChild() error {
	var busy sync.WaitGroup
	stop := make(chan struct{})
	for range 4 { // threads that were there before the filter
		busy.Go(func() { runtime.LockOSThread(); <-stop })
	}
	program, err := Compile(Default(), Options{Caps: podmanCaps})
	if err != nil {
		return err
	}
	if err := Install(program, 0); err != nil {
		return err
	}
	results := make(chan error, 8)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			results <- unix.Unshare(unix.CLONE_NEWUSER)
		}()
	}
	for range 8 {
		if err := <-results; err != unix.EPERM {
			return fmt.Errorf("unshare in some thread: %v, want EPERM", err)
		}
	}
	close(stop)
	busy.Wait()
	return ordinaryWork()
}

func ordinaryWork() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	c, err := l.Accept()
	if err != nil {
		return err
	}
	if text, err := io.ReadAll(c); err != nil || string(text) != "hello" {
		return fmt.Errorf("read %q: %v", text, err)
	}
	if _, err := net.Interfaces(); err != nil { // NETLINK_ROUTE
		return err
	}
	if out, err := exec.Command("/bin/sh", "-c", "echo $(id -u) | cat").Output(); err != nil || len(out) == 0 {
		return fmt.Errorf("sh: %q, %v", out, err)
	}
	return nil
}

func TestInstall(t *testing.T) {
	if out, err := child(t, "install").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestInstallRefuses(t *testing.T) {
	if err := Install(nil, 0); err == nil {
		t.Error("an empty program was loaded")
	}
	if err := Install(Program{ins(opLoad, 0)}, 0); err == nil {
		t.Error("a program without return was loaded")
	}
	if err := Install(Program{ins(opRet, uint32(Allow))}, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER); err == nil {
		t.Error("a listener was thrown away")
	}
}

// notifyProgram hands three calls to user space and allows all others.
func notifyProgram() (Program, error) {
	return Compile(&Profile{DefaultAction: Allow}, Options{Notify: []string{"mkdirat", "socket", "getppid", "getpgid"}})
}

// listenerToParent installs the program and sends the listener over fd 3.
func listenerToParent() error {
	program, err := notifyProgram()
	if err != nil {
		return err
	}
	l, err := InstallListener(program, 0)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(l.File().Fd())), nil, 0); err != nil {
		return err
	}
	return l.Close()
}

func notifyingChild() error {
	if err := listenerToParent(); err != nil {
		return err
	}
	if err := unix.Mkdirat(unix.AT_FDCWD, "/tmp/never-made", 0o755); err != unix.EDQUOT {
		return fmt.Errorf("mkdirat: %v, want the listener's EDQUOT", err)
	}
	if got := unix.Getppid(); got != 4242 {
		return fmt.Errorf("getppid: %d, want the listener's 4242", got)
	}
	want, err := unix.Getpgid(0)
	if err != nil || want <= 0 {
		return fmt.Errorf("getpgid: %d, %v, want the kernel's", want, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	buf := make([]byte, 64)
	n, err := unix.Read(fd, buf)
	if err != nil || string(buf[:n]) != "from the listener" {
		return fmt.Errorf("read the descriptor put in: %q, %v", buf[:n], err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		return fmt.Errorf("descriptor flags %#x, %v", flags, err)
	}
	return nil
}

// receiveListener takes the descriptor that listenerToParent sends.
func receiveListener(t *testing.T, conn int) *Listener {
	t.Helper()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(conn, make([]byte, 1), oob, 0)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("no descriptor came: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewListener(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// startNotifying starts a child and returns its listener.
func startNotifying(t *testing.T, role string) (*exec.Cmd, *Listener, *strings.Builder) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "pair")
	cmd := child(t, role, theirs)
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	l := receiveListener(t, pair[0])
	unix.Close(pair[0])
	return cmd, l, out
}

func TestListener(t *testing.T) {
	cmd, l, out := startNotifying(t, "notify")
	defer l.Close()
	l.PreferSync() // kernel 6.6; nothing depends on it
	seen := map[string]int{}
	for {
		n, err := l.Receive()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := abis[hostABI(t)].nameOf(n.Data.Nr)
		seen[name]++
		if err := answer(t, l, n, name); err != nil && !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
		if err := l.Valid(n.ID); !errors.Is(err, ErrGone) {
			t.Errorf("%s is valid after its answer: %v", name, err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("child: %v: %s", err, out)
	}
	for _, name := range []string{"mkdirat", "getppid", "getpgid", "socket"} {
		if seen[name] < 1 { // more than once if a signal came between
			t.Errorf("%s was seen %d times", name, seen[name])
		}
	}
}

func hostABI(t *testing.T) abiID {
	t.Helper()
	switch hostArch {
	case "amd64":
		return abiAMD64
	case "arm64":
		return abiARM64
	}
	t.Skip("no table for this machine")
	return 0
}

func answer(t *testing.T, l *Listener, n Notification, name string) error {
	switch name {
	case "mkdirat":
		return l.Fail(n.ID, unix.EDQUOT)
	case "getppid":
		return l.Return(n.ID, 4242)
	case "getpgid":
		return l.Continue(n.ID)
	case "socket":
		if n.Data.Args[0] != unix.AF_INET || n.Data.Args[1] != unix.SOCK_STREAM {
			t.Errorf("socket arguments %#x", n.Data.Args)
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		io.WriteString(w, "from the listener")
		w.Close()
		fd, err := l.AddFD(n.ID, int(r.Fd()), FDOptions{CloExec: true, Answer: true})
		if err == nil && fd < 3 {
			t.Errorf("descriptor %d", fd)
		}
		return err
	}
	return l.Continue(n.ID)
}

func goneChild() error {
	if err := listenerToParent(); err != nil {
		return err
	}
	unix.Getppid() // never answered
	return nil
}

// TestListenerCallerGone kills a caller between its call and the answer.
func TestListenerCallerGone(t *testing.T) {
	cmd, l, _ := startNotifying(t, "gone")
	defer l.Close()
	n, err := l.Receive()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := l.Return(n.ID, 1); !errors.Is(err, ErrGone) {
		t.Errorf("answer: %v, want ErrGone", err)
	}
	if _, err := l.AddFD(n.ID, 0, FDOptions{}); !errors.Is(err, ErrGone) {
		t.Errorf("add descriptor: %v, want ErrGone", err)
	}
	for err == nil { // what a signal to the child made it ask again
		_, err = l.Receive()
	}
	if err != io.EOF {
		t.Errorf("receive: %v, want EOF", err)
	}
}

// TestListenerClose wakes a Receive that waits.
func TestListenerClose(t *testing.T) {
	cmd, l, _ := startNotifying(t, "gone")
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	result := make(chan error, 1)
	go func() {
		for { // no answers, so that the child lives on; signals make it ask again
			if _, err := l.Receive(); err != nil {
				result <- err
				return
			}
		}
	}()
	time.Sleep(50 * time.Millisecond)
	l.Close()
	select {
	case err := <-result:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("receive: %v, want os.ErrClosed", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("Receive did not notice Close")
	}
}

// TestNotifyOnlyWhereAllowed: asking user space must not open what the
// profile refuses.
func TestNotifyOnlyWhereAllowed(t *testing.T) {
	o := Options{Caps: podmanCaps, Arch: "amd64", Kernel: modern, Notify: []string{"socket", "connect", "mount"}}
	program := mustCompile(t, Default(), o)
	for _, tc := range []struct {
		call string
		arg  uint64
		want string
	}{
		{"connect", 0, "notify"},
		{"socket", unix.AF_INET, "notify"},
		{"socket", unix.AF_ALG, "errno EAFNOSUPPORT"},
		{"mount", 0, "errno EPERM"},
		{"bind", 0, "allow"},
	} {
		d := Data{Nr: callNumber(t, abiAMD64, tc.call), Arch: unix.AUDIT_ARCH_X86_64, Args: [6]uint64{tc.arg}}
		if got := VerdictName(program.Run(d)); got != tc.want {
			t.Errorf("%s %d: %s, want %s", tc.call, tc.arg, got, tc.want)
		}
	}
	o.Notify = []string{"conect"}
	if _, err := Compile(Default(), o); err == nil || !strings.Contains(err.Error(), `"conect"`) {
		t.Errorf("a misspelt call: %v", err)
	}
}

// An interrupted caller asks again: what became of his first call is no answer to it.
func TestGoneInTheKernelsWords(t *testing.T) {
	l := &Listener{}
	for _, errno := range []unix.Errno{unix.ENOENT, unix.ESRCH} {
		if err := l.failure("add descriptor", errno); !errors.Is(err, ErrGone) {
			t.Errorf("%v: %v, want ErrGone", errno, err)
		}
	}
	if err := l.failure("add descriptor", unix.EMFILE); errors.Is(err, ErrGone) {
		t.Error("EMFILE is the caller's to know")
	}
}
