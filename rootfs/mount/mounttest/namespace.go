// Package mounttest runs a test again inside a user and mount namespace of its
// own, where it is root and may mount. For tests only.
package mounttest

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const marker = "BRYO_TEST_NAMESPACE"

// Size is how many ids the namespace has: 65536 when the tests run as root, 1
// otherwise. Tests that need other owners skip by it.
func Size() int {
	if os.Getenv(marker) == "65536" {
		return 65536
	}
	return 1
}

// Run returns true in the process that is inside the namespace: go on with the
// test there. Outside it runs the same test again inside, takes over its
// verdict and returns false. A host without user namespaces skips.
func Run(t *testing.T) bool {
	t.Helper()
	if os.Getenv(marker) != "" {
		return true
	}
	if strings.Contains(t.Name(), "/") {
		t.Fatal("Run belongs at the top of a test, not in a subtest")
	}
	host, group, size := os.Getuid(), os.Getgid(), 1
	if host == 0 {
		host, group, size = 100000, 100000, 65536 // never the host's own root
	}
	again(t, host, group, size)
	return false
}

// Nest is Run for the inside: the same test goes on in a namespace within the
// namespace, where every mount made so far is locked as those of a host are. It
// returns the value given by the outer process ("" there).
func Nest(t *testing.T, value string) string {
	t.Helper()
	const nested = "BRYO_TEST_NESTED"
	if given := os.Getenv(nested); given != "" {
		return given
	}
	t.Setenv(nested, value)
	again(t, 0, 0, Size())
	return ""
}

// again runs the test once more in a user namespace that maps size ids from host
// and group up, and takes over its verdict.
func again(t *testing.T, host, group, size int) {
	t.Helper()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), marker+"="+strconv.Itoa(size))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings:                []syscall.SysProcIDMap{{HostID: host, Size: size}},
		GidMappings:                []syscall.SysProcIDMap{{HostID: group, Size: size}},
		GidMappingsEnableSetgroups: size > 1,
		Credential:                 &syscall.Credential{NoSetGroups: true},
		Pdeathsig:                  syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Skipf("no user namespace on this host: %v", err)
	}
	verdict(t, string(out), err)
}

func verdict(t *testing.T, out string, err error) {
	t.Helper()
	switch {
	case err != nil:
		t.Errorf("inside the namespace: %v\n%s", err, out)
	case strings.Contains(out, "--- SKIP: "+t.Name()+" "):
		t.Skipf("inside the namespace:\n%s", out)
	case !strings.Contains(out, "--- PASS: "+t.Name()+" "):
		t.Errorf("inside the namespace the test did not run:\n%s", out)
	case testing.Verbose():
		t.Log(out)
	}
}
