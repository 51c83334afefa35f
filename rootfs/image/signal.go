package image

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// SignalError is a StopSignal that names no signal.
type SignalError struct{ Value string }

func (e *SignalError) Error() string { return fmt.Sprintf("stop signal %q: no such signal", e.Value) }

// DirError is a WorkingDir that cannot be one.
type DirError struct{ Value, Cause string }

func (e *DirError) Error() string { return fmt.Sprintf("working directory %q: %s", e.Value, e.Cause) }

// sigRTMin and sigRTMax are the bounds that glibc leaves to programs; Docker's
// RTMIN+n names count from them.
const sigRTMin, sigRTMax = 34, 64

// StopSignalNumber is the signal that stop sends: SIGTERM when the image names
// none. The error is a *SignalError.
func (c *Config) StopSignalNumber() (syscall.Signal, error) {
	if c.StopSignal == "" {
		return syscall.SIGTERM, nil
	}
	return ParseSignal(c.StopSignal)
}

// ParseSignal reads a signal as Docker does: a number from 1 to 64, or a name
// with or without SIG in any case, RTMIN+n and RTMAX-n included.
func ParseSignal(s string) (syscall.Signal, error) {
	if number, err := strconv.Atoi(s); err == nil {
		if number < 1 || number > sigRTMax {
			return 0, &SignalError{s}
		}
		return syscall.Signal(number), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if number, ok := realTime(name); ok {
		return number, nil
	}
	for number, known := range signalNames() {
		if name == known && name != "" {
			return syscall.Signal(number), nil
		}
	}
	switch name {
	case "IOT":
		return syscall.SIGABRT, nil
	case "CLD":
		return syscall.SIGCHLD, nil
	case "POLL":
		return syscall.SIGIO, nil
	}
	return 0, &SignalError{s}
}

func realTime(name string) (syscall.Signal, bool) {
	number, rest := sigRTMin, strings.TrimPrefix(name, "RTMIN")
	if rest == name {
		number, rest = sigRTMax, strings.TrimPrefix(name, "RTMAX")
	}
	if rest == name {
		return 0, false
	}
	if rest != "" {
		offset, err := strconv.Atoi(rest)
		if err != nil || (rest[0] != '+' && rest[0] != '-') {
			return 0, false
		}
		number += offset
	}
	return syscall.Signal(number), number >= sigRTMin && number <= sigRTMax
}

// signalNames is a function, not a variable: package variables are built at
// every process start. Index is the number, as on x86 and arm.
func signalNames() []string {
	return []string{1: "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
		"PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
		"VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"}
}

// Dir is the working directory, absolute and clean, "/" when the image names
// none. A relative one is taken from "/", as Docker does. The error is a
// *DirError. Whether the path leads through a symlink is for whoever enters it.
func (c *Config) Dir() (string, error) {
	if len(c.WorkingDir) >= 4096 { // PATH_MAX
		return "", &DirError{c.WorkingDir[:40] + "...", "longer than a path may be"}
	}
	return path.Join("/", c.WorkingDir), nil
}
