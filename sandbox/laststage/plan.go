// Package laststage holds the program that turns a container's first process
// into the user's program: drop to the exact rights, load the seccomp filter,
// execute. The program itself is laststage.c, built by make and embedded.
//
// Start reading at Plan; Image makes the descriptor that libcontainer executes,
// ReadReport tells how it ended. What it leaves out: namespaces, mounts and
// everything else that is done before, by libcontainer.
package laststage

import (
	"bytes"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

//go:embed all:bin
var programs embed.FS

// Descriptor numbers that laststage.c expects; they are ExtraFiles 0 and 1 of
// the libcontainer process.
const (
	PlanFD   = 3
	StatusFD = 4
)

// Flags of a Plan.
const (
	NoNewPrivs    = 1 << 0
	SetGroups     = 1 << 1 // setgroups(2) is allowed in this user namespace
	DieWithParent = 1 << 2
	Init          = 1 << 3 // stay as PID 1, reap and forward signals
	Terminal      = 1 << 4 // descriptor 0 is the container's own terminal
)

const (
	planMagic = 0x6f797262 // "bryo"
	maxGroups = 1024
	maxFilter = 4096 // BPF_MAXINSNS of the kernel
)

// Plan is what the last stage applies, in the container's own ids.
type Plan struct {
	Flags       uint32
	UID, GID    uint32
	Groups      []uint32
	Bounding    uint64 // capability sets, bit n is capability n
	Permitted   uint64
	Effective   uint64
	Inheritable uint64
	Ambient     uint64
	Filter      []byte // struct sock_filter, native byte order; empty: no filter
	FilterFlags uint32 // SECCOMP_FILTER_FLAG_*; with NEW_LISTENER the status descriptor is a socket
}

func (p *Plan) encode() ([]byte, error) {
	const instruction = 8
	if len(p.Groups) > maxGroups {
		return nil, fmt.Errorf("last stage: %d supplementary groups, at most %d", len(p.Groups), maxGroups)
	}
	if len(p.Filter)%instruction != 0 || len(p.Filter)/instruction > maxFilter {
		return nil, fmt.Errorf("last stage: filter of %d bytes is no program of at most %d instructions", len(p.Filter), maxFilter)
	}
	var b bytes.Buffer
	order := binary.NativeEndian
	for _, v := range []any{
		uint32(planMagic), p.Flags, p.UID, p.GID,
		p.Bounding, p.Permitted, p.Effective, p.Inheritable, p.Ambient,
		uint32(len(p.Groups)), uint32(len(p.Filter) / instruction), p.FilterFlags, uint32(0), p.Groups,
	} {
		if err := binary.Write(&b, order, v); err != nil {
			return nil, err
		}
	}
	b.Write(p.Filter)
	return b.Bytes(), nil
}

// Image returns a sealed memfd with the program and the plan, and the argument
// vector that executes it as descriptor PlanFD of the new process.
func Image(p *Plan, argv []string) (*os.File, []string, error) {
	program, err := programs.ReadFile("bin/laststage-" + runtime.GOARCH)
	if err != nil {
		return nil, nil, errors.New("last stage: not in this build: build bryo with make")
	}
	plan, err := p.encode()
	if err != nil {
		return nil, nil, err
	}
	f, err := linux.SealedProgram("bryo-last-stage", bytes.NewReader(program), bytes.NewReader(plan))
	if err != nil {
		return nil, nil, fmt.Errorf("last stage: %w", err)
	}
	head := []string{"/proc/self/fd/" + strconv.Itoa(PlanFD), strconv.Itoa(len(program))}
	return f, append(head, argv...), nil
}

var steps = [...]string{
	1: "read plan", 2: "close descriptors", 3: "drop bounding capabilities", 4: "set groups", 5: "set user",
	6: "set capabilities", 7: "set no_new_privs", 8: "load seccomp filter", 9: "exec", 10: "fork",
}

const stepExec = 9

// Error is what the last stage reported: the step that ended it and its errno.
type Error struct {
	Step  uint32
	Errno unix.Errno
}

func (e *Error) Error() string {
	step := "step " + strconv.Itoa(int(e.Step))
	if int(e.Step) < len(steps) && steps[e.Step] != "" {
		step = steps[e.Step]
	}
	return step + ": " + e.Errno.Error()
}

func (e *Error) Unwrap() error { return e.Errno }

// IsExec says that everything was set up and only the user's program could not
// be executed: exit code 126 or 127 for the user.
func (e *Error) IsExec() bool { return e.Step == stepExec }

// ReadReport reads the status pipe until the program was executed (nil) or the
// last stage gave up (*Error).
func ReadReport(r io.Reader) error {
	var b [8]byte
	switch _, err := io.ReadFull(r, b[:]); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("last stage: read status: %w", err)
	}
	return &Error{
		Step:  binary.NativeEndian.Uint32(b[:4]),
		Errno: unix.Errno(binary.NativeEndian.Uint32(b[4:])),
	}
}

// TakeListener waits until process pid has loaded its filter and takes the
// listener out of it; the program is not executed before. ReadReport comes next.
func TakeListener(status *os.File, pid int) (*os.File, error) {
	err := ReadReport(status)
	var loaded *Error
	if !errors.As(err, &loaded) || loaded.Step != 0 {
		if err == nil {
			err = errors.New("last stage: no listener")
		}
		return nil, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("last stage: pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, int(loaded.Errno), 0)
	if err != nil {
		return nil, fmt.Errorf("last stage: take the seccomp listener: %w", err)
	}
	listener := os.NewFile(uintptr(fd), "seccomp listener")
	if _, err := status.Write([]byte{1}); err != nil {
		listener.Close()
		return nil, fmt.Errorf("last stage: %w", err)
	}
	return listener, nil
}
