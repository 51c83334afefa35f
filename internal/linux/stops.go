package linux

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// terminalStops stop a process on behalf of its terminal, and can be caught.
var terminalStops = []os.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}

// stops are the stop signals of a terminal on their way to this process.
var stops struct {
	mu      sync.Mutex
	holders int
	pending bool
}

// DeferStops has Ctrl-Z, and what reading or writing in the background brings, stop this
// process only while nobody in it holds them back: a process that is stopped with a lock
// in its hands holds up all others. SIGSTOP cannot be caught; who sends it means it.
func DeferStops() {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, terminalStops...)
	go func() {
		for range caught {
			stops.mu.Lock()
			if stops.pending = stops.holders > 0; !stops.pending {
				stop()
			}
			stops.mu.Unlock()
		}
	}()
}

// HoldStops is called before a lock is taken that others wait for, release behind it.
func HoldStops() (release func()) {
	stops.mu.Lock()
	stops.holders++
	stops.mu.Unlock()
	return func() {
		stops.mu.Lock()
		defer stops.mu.Unlock()
		if stops.holders--; stops.holders == 0 && stops.pending {
			stops.pending = false
			stop()
		}
	}
}

// stop ends with SIGCONT; with the mutex held, nobody takes a lock meanwhile.
func stop() { _ = unix.Kill(unix.Getpid(), unix.SIGSTOP) }

// StartUnstopped is cmd.Start in a process that a terminal may stop. A child that is stopped
// between its vfork and its execve never lets its parent go on, nor stop: the
// shell would wait for both, with the terminal in its hands. The child has the signals
// blocked; a role of ours unblocks them when it begins (sandbox/userns).
func StartUnstopped(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stops, old unix.Sigset_t
	for _, sig := range terminalStops {
		stops.Val[0] |= 1 << (sig.(unix.Signal) - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &stops, &old); err != nil {
		return os.NewSyscallError("sigprocmask", err)
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) }()
	return cmd.Start()
}
