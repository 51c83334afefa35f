package sandbox

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// stageName begins the name of a process that libcontainer forks on the way into a
// container, until it executes the last stage.
const stageName = "runc:["

// reapStages waits for the processes of an Exec that was cut short, as by the end of
// the container: libcontainer learns their pids only from one that succeeds. One
// that is in the container's pid namespace and not waited for keeps the first
// process, and so the container, from ending: pid_namespaces(7). No other Exec is
// under way, as all are called by one thread.
func reapStages() {
	for _, pid := range linux.Children() {
		name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if err != nil || !strings.HasPrefix(string(name), stageName) {
			continue
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
}
