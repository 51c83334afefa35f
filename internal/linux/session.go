package linux

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// KillSession kills the processes of a session that live in the same pid
// namespace as peer: nobody outside of it is ever meant.
func KillSession(leader, peer int) error {
	namespace, err := os.Readlink("/proc/" + strconv.Itoa(peer) + "/ns/pid")
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
		own, err := os.Readlink("/proc/" + e.Name() + "/ns/pid")
		if err == nil && own == namespace && sessionOf(pid) == leader {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
	}
	return nil
}

// sessionOf is field 6 of /proc/PID/stat; 0 when the process is gone.
func sessionOf(pid int) int {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const sessionField = 6 - 3
	if len(fields) <= sessionField {
		return 0
	}
	session, _ := strconv.Atoi(fields[sessionField])
	return session
}
