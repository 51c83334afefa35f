// Package trace shows where the time of a start goes: with BRYO_TRACE=1 each
// phase of each process prints a line on stderr with the milliseconds since the
// command began. Off, a mark costs one comparison.
package trace

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Env is the variable: "1" on the command line, the start time in nanoseconds
// of CLOCK_MONOTONIC in the processes that bryo starts.
const Env = "BRYO_TRACE"

var (
	origin  int64
	process string
	out     = os.Stderr
)

// Start turns tracing on when the environment asks for it. name is the role
// that the lines carry, began the time when the command was executed.
func Start(name string, began int64) {
	value := os.Getenv(Env)
	if value == "" {
		return
	}
	process = name
	// A supervisor leaves the command's stderr before its last phases.
	if fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3); err == nil {
		out = os.NewFile(uintptr(fd), "trace")
	}
	origin, _ = strconv.ParseInt(value, 10, 64)
	if origin <= 1 {
		origin = began
	}
	Mark("process started")
}

// Environ is what a new process needs to continue the trace: one entry or none.
func Environ() []string {
	if origin == 0 {
		return nil
	}
	return []string{Env + "=" + strconv.FormatInt(origin, 10)}
}

// Mark says that a phase has ended.
func Mark(phase string) {
	if origin == 0 {
		return
	}
	fmt.Fprintf(out, "bryo-trace %8.3f ms  %-10s %s\n", float64(now()-origin)/1e6, process, phase)
}

func now() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return ts.Nano()
}
