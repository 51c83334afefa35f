package linux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReusedPid: who has the pid of a process that is gone is never meant, neither
// himself nor as the name of a pid namespace.
func TestReusedPid(t *testing.T) {
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stranger.Process.Kill(); stranger.Wait() }()
	reused := RefProcess(stranger.Process.Pid)
	reused.Start--
	if reused.Alive() {
		t.Error("a process of another start time is called alive")
	}
	// A signal that does nobody harm if it is sent after all: every process here is in
	// this pid namespace.
	for name, err := range map[string]error{
		"kill":      reused.Kill(unix.SIGCONT),
		"namespace": SignalNamespace(reused, unix.SIGCONT),
		"session":   KillSession(stranger.Process.Pid, reused),
	} {
		if !errors.Is(err, unix.ESRCH) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !RefProcess(stranger.Process.Pid).Alive() {
		t.Error("the stranger is dead")
	}
}

// TestSignalOtherNamespace: a process that is in another pid namespace by the time it
// is signalled is spared.
func TestSignalOtherNamespace(t *testing.T) {
	if err := signalIn("pid:[1]", os.Getpid(), unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestDying: told of one that has a deadly signal before it, not of one that only waits.
func TestDying(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	r := RefProcess(cmd.Process.Pid)
	_ = r.Kill(unix.SIGSTOP)
	if r.Dying() {
		t.Error("a stopped process is called dying")
	}
	_ = r.Kill(unix.SIGKILL)
	if r.Alive() && !r.Dying() && r.Alive() {
		t.Error("a killed process is not called dying")
	}
}

// A process whose main thread has ended holds its files until the last thread ends.
func TestAliveCountsThreads(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MAIN_THREAD_ENDS=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ref := RefProcess(cmd.Process.Pid)
	_, _ = out.Read(make([]byte, 1))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if bytes.Contains(data, []byte(") Z ")) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the main thread has not ended: %s", data)
		}
	}
	if !ref.Alive() {
		t.Error("dead while a thread of it runs")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if ref.Alive() {
		t.Error("alive after its end")
	}
}

// With the variable this process is the one of TestAliveCountsThreads: its main thread,
// which runs the initialisers, ends and leaves it to the others.
func init() {
	if os.Getenv("MAIN_THREAD_ENDS") == "" {
		return
	}
	started := make(chan struct{})
	go func() {
		close(started)
		time.Sleep(time.Minute)
		os.Exit(1)
	}()
	<-started
	os.Stdout.WriteString("x")
	unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
}
