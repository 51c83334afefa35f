// Package rest makes a process that has nothing to do small: it executes a program of
// one page in its own place (src/rest.c, built by make and embedded), which waits for
// the process's descriptors and then executes bryo again. Pid, children, descriptors,
// namespaces and locks stay; memory and threads go.
//
// Start reading at Begin, which does not return, and Woken, which is how the new image
// gets what Begin was given. Signals that come on the way are signals.go's. When a
// supervisor may rest, and what it has to remember, is the caller's.
package rest

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

//go:embed all:bin
var programs embed.FS

// env is the variable that rest.c reads, and Woken after it.
const env = "_BRYO_REST"

// maxWatched is what rest.c has room for: MAX_WATCHED.
const maxWatched = 256

// ErrTooMany: there are more descriptors to wait for than the program has room for.
var ErrTooMany = errors.New("rest: too many descriptors to wait for")

// Plan is what a process leaves to its next image.
type Plan struct {
	Record  []byte
	Signals *Signals
	Watch   []int // descriptors; the first that can be read, or has hung up, ends the rest
	Keep    []int // descriptors that stay open, not waited for
	Args    []string
	Env     []string
}

// Begin rests. It is called on the main thread, of which all children are, and whose
// namespaces and rights are the process's: the other threads end. The caller has seen to
// it that they have nothing in hand. Begin returns only with the reason why not, and
// then all is as before.
func Begin(p Plan) error {
	if len(p.Watch)+2 > maxWatched {
		return ErrTooMany
	}
	d, err := open(p.Record)
	defer d.close()
	if err != nil {
		return fmt.Errorf("rest: %w", err)
	}
	// In this order rest.c, signals.c and Woken find them.
	list := append([]int{fd(d.record), fd(d.binary), p.Signals.write, p.Signals.read, fd(d.signals)}, p.Watch...)
	var words []string
	for _, n := range list {
		words = append(words, strconv.Itoa(n))
	}
	return d.execute(p.Args, append(p.Env, env+"="+strings.Join(words, ",")), append(list, p.Keep...))
}

func fd(f *os.File) int { return int(f.Fd()) }

// descriptors are those of the rest itself.
type descriptors struct {
	program, record, binary, signals *os.File
}

func open(record []byte) (d descriptors, err error) {
	image, err := programs.ReadFile("bin/rest-" + runtime.GOARCH)
	if err != nil {
		return d, errors.New("not in this build: build bryo with make")
	}
	if d.program, err = linux.SealedProgram("bryo", bytes.NewReader(image)); err != nil {
		return d, err
	}
	if d.record, err = memory(record); err != nil {
		return d, err
	}
	// The very file that runs now, whatever is at its path by then. To be executed is
	// all that it is opened for.
	if d.binary, err = os.OpenFile("/proc/self/exe", unix.O_PATH, 0); err != nil {
		return d, err
	}
	pending, err := unix.Signalfd(-1, passedSet(), unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return d, os.NewSyscallError("signalfd", err)
	}
	d.signals = os.NewFile(uintptr(pending), "signals")
	return d, nil
}

func memory(data []byte) (*os.File, error) {
	n, err := unix.MemfdCreate("rest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(n), "record")
	if _, err = f.WriteAt(data, 0); err == nil {
		err = linux.Seal(f)
	}
	return f, err
}

func (d *descriptors) close() {
	for _, f := range []*os.File{d.program, d.record, d.binary, d.signals} {
		if f != nil {
			f.Close()
		}
	}
}

// execute hands the kept descriptors on. No other thread can start a process meanwhile:
// that is the main thread's work, and it is here.
func (d *descriptors) execute(args, environ []string, kept []int) error {
	var limit unix.Rlimit
	// syscall.Exec gives the soft limit back that Go raised at its start.
	limitErr := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	path := "/proc/self/fd/" + strconv.Itoa(fd(d.program))
	before := block()
	defer unblock(before)
	for _, fd := range kept {
		inherit(fd, true)
	}
	err := hushThreads()
	if err == nil {
		err = os.NewSyscallError("rest: execve", syscall.Exec(path, args, environ))
	}
	for _, fd := range kept {
		inherit(fd, false)
	}
	if limitErr == nil {
		raise(&limit)
	}
	return err
}

// raise sets the limit past package syscall, which would otherwise forget the one that
// the container's programs get.
func raise(limit *unix.Rlimit) {
	_, _, _ = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(limit)), 0, 0, 0)
}

func inherit(fd int, yes bool) {
	flag := unix.FD_CLOEXEC
	if yes {
		flag = 0
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
}

// Woken returns what Begin was given in the image of this process that rested; nil in a
// process that never did. What Begin kept is close-on-exec again when it returns.
func Woken() (*Plan, error) {
	value, yes := os.LookupEnv(env)
	if !yes {
		return nil, nil
	}
	os.Unsetenv(env)
	if err := sealDescriptors(); err != nil {
		return nil, fmt.Errorf("wake: %w", err)
	}
	var list []int
	for word := range strings.SplitSeq(value, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("wake: %w", err)
		}
		list = append(list, n)
	}
	if len(list) < 5 {
		return nil, fmt.Errorf("wake: %s=%s", env, value)
	}
	p := &Plan{Signals: adoptSignals(list[3], list[2]), Watch: list[5:]}
	record := os.NewFile(uintptr(list[0]), "record")
	defer record.Close()
	unix.Close(list[1])
	unix.Close(list[4])
	var err error
	p.Record, err = io.ReadAll(io.NewSectionReader(record, 0, 1<<30))
	return p, err
}

// sealDescriptors: nothing but stdio is for the container's programs.
func sealDescriptors() error {
	err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) // since Linux 5.11
	if err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			inherit(fd, false)
		}
	}
	return err
}
