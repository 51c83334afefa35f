package cli

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// parseSignal reads docker's spellings: 9, KILL, SIGKILL, kill, RTMIN+3.
func parseSignal(text string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n > 0 && n <= 64 {
			return syscall.Signal(n), nil
		}
		return 0, invalidSignal(text)
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if sig := unix.SignalNum("SIG" + name); sig != 0 {
		return sig, nil
	}
	const rtmin, rtmax = 34, 64 // as glibc has them
	if rest, ok := strings.CutPrefix(name, "RTMIN"); ok {
		return realTime(text, rtmin, rest)
	}
	if rest, ok := strings.CutPrefix(name, "RTMAX"); ok {
		return realTime(text, rtmax, rest)
	}
	return 0, invalidSignal(text)
}

func realTime(text string, base int, offset string) (syscall.Signal, error) {
	n := 0
	if offset != "" {
		var err error
		if n, err = strconv.Atoi(offset); err != nil {
			return 0, invalidSignal(text)
		}
	}
	if base+n < 34 || base+n > 64 {
		return 0, invalidSignal(text)
	}
	return syscall.Signal(base + n), nil
}

// invalidSignal is docker's answer of the daemon: exit code 1, with run 125.
func invalidSignal(text string) error { return fmt.Errorf("invalid signal: %s", printable(text)) }
