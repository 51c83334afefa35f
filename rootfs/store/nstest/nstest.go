// Package nstest runs a package's tests inside a user and mount namespace, as
// the image role runs: uid 0, full id map for root, a map of one id for a plain
// user. Tests of this kind ask Need first.
package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const marker = "BRYO_TEST_NAMESPACE"

// Main is for TestMain.
func Main(m *testing.M) {
	if os.Getenv(marker) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), marker+"=in")
	size := 1
	if os.Getuid() == 0 {
		size = 65536
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: size}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: size}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(max(exit.ExitCode(), 1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no user namespace here:", err)
		os.Setenv(marker, "none: "+err.Error())
		os.Exit(m.Run())
	}
	os.Exit(0)
}

// Need skips the test where there is no user namespace.
func Need(t testing.TB) {
	t.Helper()
	if reason, found := strings.CutPrefix(os.Getenv(marker), "none: "); found {
		t.Skip("needs a user namespace: ", reason)
	}
}

// NeedIDs skips the test where only one id is mapped.
func NeedIDs(t testing.TB) {
	t.Helper()
	Need(t)
	if Single() {
		t.Skip("needs a user namespace with more than one id: run as root")
	}
}

// Single tells whether only one id is mapped.
func Single() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(text))
	return err != nil || len(fields) == 3 && fields[2] == "1"
}
