package rest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test's binary is the process that rests, when this names what it does then. Begin
// belongs to the main thread, which only init can keep.
const roleEnv = "BRYO_TEST_REST"

func init() {
	if os.Getenv(roleEnv) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := act(role); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// act rests at once. Awake, it says what came by descriptor 0 and by signals, and rests
// again; at the end of descriptor 0 it ends.
func act(role string) error {
	plan, err := Woken()
	if err != nil {
		return err
	}
	if plan == nil {
		plan = &Plan{Record: []byte("0")}
		if plan.Signals, err = CatchSignals(); err != nil {
			return err
		}
		fmt.Println("pid", os.Getpid())
	} else if role == "tell" {
		fmt.Println("woken", string(plan.Record), os.Getpid())
	}
	rests, err := strconv.Atoi(string(plan.Record))
	if err != nil {
		return err
	}
	if over, err := take(plan.Signals); over || err != nil {
		return err
	}
	return Begin(Plan{
		Record: []byte(strconv.Itoa(rests + 1)), Signals: plan.Signals, Watch: []int{0},
		Args: os.Args, Env: []string{roleEnv + "=" + role},
	})
}

// take reads all that is there.
func take(signals *Signals) (over bool, err error) {
	watched := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}, {Fd: int32(signals.read), Events: unix.POLLIN}}
	if _, err := unix.Poll(watched, 0); err != nil && err != unix.EINTR {
		return false, err
	}
	var b [64]byte
	if watched[1].Revents != 0 {
		n, _ := unix.Read(signals.read, b[:])
		for _, sig := range b[:max(n, 0)] {
			fmt.Println("signal", sig)
		}
	}
	if watched[0].Revents != 0 {
		n, err := unix.Read(0, b[:])
		if n == 0 {
			fmt.Println("over")
			return true, err
		}
		fmt.Printf("input %q\n", b[:max(n, 0)])
	}
	return false, nil
}

// rester is such a process.
type rester struct {
	*testing.T
	cmd   *exec.Cmd
	input io.WriteCloser
	lines chan string
}

func start(t *testing.T, role string) *rester {
	r := &rester{T: t, cmd: exec.Command("/proc/self/exe"), lines: make(chan string, 100)}
	r.cmd.Env = []string{roleEnv + "=" + role}
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		r.input, err = r.cmd.StdinPipe()
	}
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
		close(r.lines)
	}()
	r.expect("pid " + strconv.Itoa(r.cmd.Process.Pid))
	return r
}

func (r *rester) expect(want string) {
	r.Helper()
	select {
	case line := <-r.lines:
		if line != want {
			r.Fatalf("got %q, want %q", line, want)
		}
	case <-time.After(20 * time.Second):
		r.Fatalf("nothing came, want %q", want)
	}
}

// awaitRest returns when the process is the small program.
func (r *rester) awaitRest() {
	r.Helper()
	exe := fmt.Sprintf("/proc/%d/exe", r.cmd.Process.Pid)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if path, err := os.Readlink(exe); err == nil && strings.HasPrefix(path, "/memfd:") {
			return
		}
		if time.Now().After(end) {
			r.Fatal("it does not rest")
		}
	}
}

func (r *rester) say(words string) {
	r.Helper()
	if _, err := io.WriteString(r.input, words); err != nil {
		r.Fatal(err)
	}
}

// TestRest: the process is the same before and after, and small between; what came is
// there once.
func TestRest(t *testing.T) {
	r := start(t, "tell")
	pid := strconv.Itoa(r.cmd.Process.Pid)
	for n := 1; n <= 20; n++ {
		r.awaitRest()
		if n == 1 {
			r.small(pid)
		}
		r.say("a")
		r.expect("woken " + strconv.Itoa(n) + " " + pid)
		r.expect(`input "a"`)
	}
	r.awaitRest()
	r.input.Close()
	r.expect("woken 21 " + pid)
	r.expect("over")
}

func (r *rester) small(pid string) {
	r.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if n, err := strconv.Atoi(f[1]); f[0] == "Pss:" && (err != nil || n > 100) {
			r.Errorf("it weighs %s kB", f[1])
		}
	}
}

// TestSignals sends signals to a process that does nothing but rest and wake, at all
// moments of that: none is lost, and none ends it.
func TestSignals(t *testing.T) {
	r := start(t, "quiet")
	for n := range 300 {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		sig := []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP}[n%3]
		if n%2 == 0 {
			r.say("x") // the moment of waking
		}
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
		if err := r.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		r.hear("signal " + strconv.Itoa(int(sig)))
	}
}

// hear waits for a line among those of input.
func (r *rester) hear(want string) {
	r.Helper()
	for end := time.After(20 * time.Second); ; {
		select {
		case line, open := <-r.lines:
			if line == want {
				return
			}
			if !open || !strings.HasPrefix(line, "input ") {
				r.Fatalf("got %q, want %q", line, want)
			}
		case <-end:
			r.Fatalf("nothing came, want %q", want)
		}
	}
}

// TestOtherSignals: those that Go ignores do not end the small program either.
func TestOtherSignals(t *testing.T) {
	r := start(t, "quiet")
	r.awaitRest()
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGPIPE, unix.SIGIO, unix.SIGWINCH, unix.SIGCHLD} {
		if err := r.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitRest()
	r.input.Close()
	r.expect("over")
}

// TestTooMany: refused, and the process goes on.
func TestTooMany(t *testing.T) {
	if err := Begin(Plan{Watch: make([]int, maxWatched)}); !errors.Is(err, ErrTooMany) {
		t.Errorf("got %v", err)
	}
}
