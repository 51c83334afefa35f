package linux

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// KillSession kills the processes of a session that live in the same pid
// namespace as first: nobody outside of it is ever meant.
func KillSession(leader int, first ProcessRef) error {
	namespace, err := first.pidNamespace()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || sessionOf(pid) != leader {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// Looked at after the open: the descriptor cannot move to another process.
		if inNamespace(pid, namespace) && sessionOf(pid) == leader {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
	}
	return nil
}

// Children lists the processes whose parent is the caller, dead ones that nobody
// has waited for among them.
func Children() (list []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && parentOf(pid) == os.Getpid() {
			list = append(list, pid)
		}
	}
	return list
}

func parentOf(pid int) int  { return statField(pid, 4) }
func sessionOf(pid int) int { return statField(pid, 6) }

// statField is a number of /proc/PID/stat, counted from 1 as proc_pid_stat(5) does;
// 0 when the process is gone.
func statField(pid, number int) int {
	fields, err := statFields(pid)
	if err != nil {
		return 0
	}
	value, _ := strconv.Atoi(fields[number-3])
	return value
}
