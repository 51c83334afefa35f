package linux

import (
	"errors"
	"os"
	"os/exec"
	"testing"

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
