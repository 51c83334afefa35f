// Package laststage holds the program that turns a container's first process
// into the user's program: drop to the exact rights, load the seccomp filter,
// execute. The program itself is laststage.c, built by make and embedded.
//
// Start reading at Plan; New makes the descriptor that libcontainer executes, Go and
// Await hold its process back, ReadReport tells how it ended. What it leaves out: namespaces, mounts and
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

// Program is the last stage on its way to be executed: a memfd that becomes descriptor
// PlanFD of the new process.
type Program struct {
	File *os.File
	code []byte
}

// New makes the descriptor; Seal has to come before it is executed.
func New() (*Program, error) {
	code, err := programs.ReadFile("bin/laststage-" + runtime.GOARCH)
	if err != nil {
		return nil, errors.New("last stage: not in this build: build bryo with make")
	}
	file, err := linux.NewProgram("bryo-last-stage")
	if err != nil {
		return nil, fmt.Errorf("last stage: %w", err)
	}
	return &Program{file, code}, nil
}

// Argv is the argument vector that executes it for the program of argv.
func (p *Program) Argv(argv []string) []string {
	return append([]string{"/proc/self/fd/" + strconv.Itoa(PlanFD), strconv.Itoa(len(p.code))}, argv...)
}

// Seal writes the program and its plan; nobody can change either from then on.
func (p *Program) Seal(plan *Plan) error {
	encoded, err := plan.encode()
	if err != nil {
		return err
	}
	if err := linux.SealProgram(p.File, bytes.NewReader(p.code), bytes.NewReader(encoded)); err != nil {
		return fmt.Errorf("last stage: %w", err)
	}
	return nil
}

// Go lets a first process go on that stands at Await, and gives it a message.
func Go(status io.Writer, message []byte) error {
	b := append(binary.NativeEndian.AppendUint32(nil, uint32(len(message))), message...)
	if _, err := status.Write(b); err != nil {
		return fmt.Errorf("last stage: %w", err)
	}
	return nil
}

// Await is called in the container's first process, before libcontainer has done
// anything there, and returns the message when Go was called; an error: the supervisor is
// gone.
func Await() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(status{}, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.NativeEndian.Uint32(size[:]))
	_, err := io.ReadFull(status{}, message)
	return message, err
}

// GiveUp tells the supervisor why a first process does not come as far as the last stage.
func GiveUp(reason string) {
	b := binary.NativeEndian.AppendUint32(nil, stepBefore)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(reason)))
	_, _ = status{}.Write(append(b, reason...))
}

// status is descriptor StatusFD, which stays open for the last stage.
type status struct{}

func (status) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(StatusFD, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (status) Write(b []byte) (int, error) { return unix.Write(StatusFD, b) }

var steps = [...]string{
	1: "read plan", 2: "close descriptors", 3: "drop bounding capabilities", 4: "set groups", 5: "set user",
	6: "set capabilities", 7: "set no_new_privs", 8: "load seccomp filter", 9: "exec", 10: "fork",
}

const (
	stepExec   = 9
	stepBefore = 1000 // with the length of a text instead of an errno
	stepBegun  = 1001
)

// ErrBefore: the process gave up before the last stage.
type ErrBefore struct{ Reason string }

func (e *ErrBefore) Error() string { return e.Reason }

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

// ErrEnded: the process ended on the way to the last stage, and could not say why.
var ErrEnded = errors.New("the first process ended before the program was executed")

// ReadBegun reads the status pipe until the last stage runs (nil), or why it does not.
// ReadReport comes next: only after this is the end of the pipe a good sign.
func ReadBegun(r io.Reader) error {
	err := ReadReport(r)
	var report *Error
	switch {
	case err == nil:
		return ErrEnded
	case errors.As(err, &report) && report.Step == stepBegun:
		return nil
	}
	return err
}

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
	step, value := binary.NativeEndian.Uint32(b[:4]), binary.NativeEndian.Uint32(b[4:])
	if step == stepBefore {
		reason, _ := io.ReadAll(io.LimitReader(r, int64(value)))
		return &ErrBefore{string(reason)}
	}
	return &Error{Step: step, Errno: unix.Errno(value)}
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
