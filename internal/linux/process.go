// Package linux names the system calls that bryo uses beyond the standard
// library, one small wrapper each, so that callers read like their man pages.
// It knows nothing of containers.
package linux

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ProcessRef names a process for good: the pid alone is reused, the pair of pid
// and start time is not within one boot, and Boot tells boots apart.
//
//easyjson:json
type ProcessRef struct {
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // clock ticks since boot, field 22 of /proc/PID/stat
	Boot  string `json:"boot,omitempty"`
}

// RefProcess describes a living process; the zero value when it is gone.
func RefProcess(pid int) ProcessRef {
	start, _, err := stat(pid)
	if err != nil {
		return ProcessRef{}
	}
	return ProcessRef{PID: pid, Start: start, Boot: BootID()}
}

// Alive says whether exactly this process still runs; a zombie does not. One whose main
// thread has ended does as long as another has not: its files are open.
func (r ProcessRef) Alive() bool {
	if r.PID <= 0 {
		return false
	}
	start, dead, err := stat(r.PID)
	return err == nil && start == r.Start && !dead && r.Boot == BootID()
}

// Dying says whether a process that is alive still is about to end whatever it does:
// SIGKILL waits for it, or its main thread has begun to exit.
func (r ProcessRef) Dying() bool {
	fields, err := statFields(r.PID)
	if err != nil {
		return false
	}
	const stateField, flagsField, exiting = 0, 9 - 3, 0x4 // PF_EXITING
	flags, _ := strconv.ParseUint(fields[flagsField], 10, 64)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(r.PID) + "/status")
	if err != nil {
		return false
	}
	waits := mask(status, "SigPnd") | mask(status, "ShdPnd")
	return fields[stateField] == "Z" || flags&exiting != 0 || waits>>(unix.SIGKILL-1)&1 == 1
}

// mask is a line of /proc/PID/status with signals in it.
func mask(status []byte, name string) uint64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	value, _ := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	return value
}

// Open returns a pidfd for the process after checking that it is the one meant.
func (r ProcessRef) Open() (*os.File, error) {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	// Checked after the open: the descriptor cannot move to another process.
	if !r.Alive() {
		unix.Close(fd)
		return nil, unix.ESRCH
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// Kill signals the process through a pidfd: never a stranger with its pid.
func (r ProcessRef) Kill(sig unix.Signal) error {
	f, err := r.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0))
}

// AwaitEnd returns when a child has ended. It is left a zombie: somebody else waits for it.
func AwaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return os.NewSyscallError("waitid", err)
		}
	}
}

func stat(pid int) (start uint64, dead bool, err error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, false, err
	}
	const threadsField, startField = 20 - 3, 22 - 3
	state, alone := fields[0], fields[threadsField] == "1" || fields[threadsField] == "0"
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	return start, state == "X" || state == "Z" && alone, err
}

// statFields is /proc/PID/stat from its third field on, up to the start time at least.
func statFields(pid int) ([]string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, err
	}
	// The command name may hold spaces and parentheses: cut after the last one.
	at := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[at+1:]))
	if at < 0 || len(fields) <= 22-3 {
		return nil, unix.EINVAL
	}
	return fields, nil
}

// BootID changes with every boot; empty when /proc hides it.
func BootID() string { return bootID() }

// No process sees two boots: read once, as a list of containers asks for each.
var bootID = sync.OnceValue(readBootID)

func readBootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// HandlesSignal says whether the process catches or ignores the signal itself,
// from the masks in /proc/PID/status; true when they cannot be read.
func HandlesSignal(pid int, sig unix.Signal) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	return err != nil || (mask(status, "SigIgn")|mask(status, "SigCgt"))>>(uint(sig)-1)&1 == 1
}

// pidNamespace names the pid namespace of a living process, and of no other one that
// has its pid since.
func (r ProcessRef) pidNamespace() (string, error) {
	name, err := os.Readlink("/proc/" + strconv.Itoa(r.PID) + "/ns/pid")
	if err == nil && !r.Alive() { // looked at after the reading
		err = unix.ESRCH
	}
	return name, err
}

// SignalNamespace signals every process of the pid namespace that first is in. The
// processes are found in /proc by their namespace; one that is born meanwhile is found
// in the next round.
func SignalNamespace(first ProcessRef, sig unix.Signal) error {
	namespace, err := first.pidNamespace()
	if err != nil {
		return err
	}
	done := map[int]bool{}
	const rounds = 8 // a fork bomb is not waited for
	for range rounds {
		fresh := 0
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		for _, e := range entries {
			n, err := strconv.Atoi(e.Name())
			if err != nil || done[n] || !inNamespace(n, namespace) {
				continue
			}
			if err := signalIn(namespace, n, sig); err != nil {
				return err
			}
			done[n] = true
			fresh++
		}
		if fresh == 0 {
			return nil
		}
	}
	return nil
}

func inNamespace(pid int, namespace string) bool {
	own, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
	return err == nil && own == namespace
}

// signalIn signals a process if it is in a pid namespace.
func signalIn(namespace string, pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // gone
	}
	defer unix.Close(fd)
	// Looked at after the open: the descriptor cannot move to another process.
	if !inNamespace(pid, namespace) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}
