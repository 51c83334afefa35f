// Package sandbox runs one isolated process tree: an OCI runtime spec goes in,
// a started container comes out, with signals, waiting and deletion.
//
// Start reading at Start. It runs in the supervisor, which is root of the
// container's user namespace already (package userns), so the spec names no
// user namespace. libcontainer does namespaces, mounts and the jail; the last
// stage (package laststage) sets user, capabilities and the seccomp filter. What
// it leaves out: images, the overlay, networks, logs.
package sandbox

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/sandbox/kernelfs"
	"bryo/sandbox/laststage"
)

// Config is what Start needs besides the spec.
type Config struct {
	ID       string
	StateDir string      // libcontainer's state goes to StateDir/ID
	Spec     *specs.Spec // without a user namespace; Process.User is the final user
	Filter   Filter      // for the last stage; without a program: unconfined
	Init     bool        // keep a reaper as PID 1
	NoGroup  bool        // the user may make no control group, and the spec names none
	// SharedKeyring: the filter leaves the container no call to reach a keyring, so
	// the one that all supervisors share (userns.SharedKeyring) will do. One of its
	// own counts against the user's quota: 200 keys (/proc/sys/kernel/keys/maxkeys).
	SharedKeyring bool
	Single        bool  // the namespace has one id: setgroups is denied
	Owner         Owner // the invoking user's ids inside
	// Wire is called once the namespaces are there, with the process that is to
	// become the first; nil: nothing to do. Nothing of the user's runs yet.
	Wire func(pid int) error
	// Network returns the path of the network namespace when it has been made beside what
	// Start does first; nil: the spec has it.
	Network func() (string, error)
	// Ready does what is left to do before the first process needs it, beside the start
	// of libcontainer's own process: the root and all that is mounted in it may be missing
	// until then, and so may the filter, which it returns. nil: all is there, and Filter
	// is the filter. Start returns its error as it is.
	Ready func() (Filter, error)
	// Plain: nothing of the user's is mounted in the root, whose /proc and /sys are
	// directories, and the kernel has mount_setattr(2), since 5.12.
	Plain bool
	view  *kernelfs.View // what the spec has no more

	// The container's descriptors 0, 1 and 2. With a terminal they are unused.
	Stdin, Stdout, Stderr *os.File
	// Console: allocate a terminal of this size; Container.Console is its master.
	Console *Size
}

// Owner is who the invoking user is inside. libcontainer gives the descriptors 0
// to 2 to the user it starts the last stage as: that must be their owner.
type Owner struct{ UID, GID uint32 }

// Filter is a seccomp program: struct sock_filter in native byte order.
type Filter struct {
	Program []byte
	Flags   uint32 // SECCOMP_FILTER_FLAG_*
	// Listener takes the listener of a program that asks user space, before the
	// user's program is executed; it owns the descriptor. Flags name no listener:
	// this does.
	Listener func(*os.File) error
}

// Size of a terminal in characters.
type Size struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Container is a started container: its first process and what keeps it apart.
// Its methods may be called from several goroutines.
type Container struct {
	Process
}

// Process is a process in a container, its first or an exec'd one.
type Process struct {
	container *libcontainer.Container
	process   *libcontainer.Process
	again     *os.Process // instead of process: see Again
	init      bool
	mounts    *os.File // the mount namespace of a first process
	// Console is the master side of the terminal, nil without one.
	Console *os.File
}

// ExecError: the container was set up and its program could not be executed.
type ExecError struct {
	Program string
	Err     error
}

func (e *ExecError) Error() string {
	if errors.Is(e.Err, unix.ENOENT) && !strings.Contains(e.Program, "/") {
		return fmt.Sprintf("exec %q: executable file not found in $PATH", e.Program)
	}
	return fmt.Sprintf("exec %q: %v", e.Program, e.Err)
}
func (e *ExecError) Unwrap() error { return e.Err }

// Start creates the container and runs its program. It returns when the
// program was executed (execve succeeded) or with the reason why not.
func Start(c Config) (*Container, error) {
	// libcontainer logs what it also returns; an error is said once, by the CLI.
	logrus.SetOutput(io.Discard)
	trustProc()
	plain := c
	if c.Plain {
		spec := *c.Spec
		c.Spec, c.view = &spec, kernelfs.Take(&spec)
	}
	started, err := start(&c)
	var before *laststage.ErrBefore
	if errors.As(err, &before) && c.view != nil { // libcontainer may know another way, or the reason
		plain.Ready, plain.Filter = nil, c.Filter
		return start(&plain)
	}
	return started, err
}

func start(c *Config) (*Container, error) {
	config, err := convert(*c)
	if err != nil {
		return nil, err
	}
	container, err := libcontainer.Create(c.StateDir, c.ID, config)
	if err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	// Rootless, but for the checks of Create: the supervisor is the user that init
	// is, so init opens the sources of bind mounts itself, and no thread of the
	// supervisor enters its mount namespace to do that. The rest of what this turns
	// off, helpers for a nested map and setgroups, keep-id needs and the last
	// stage does.
	if !config.Namespaces.Contains(configs.NEWUSER) {
		config.RootlessEUID = true
	}
	if err := joinNetwork(config, c.Network); err != nil {
		_ = container.Destroy()
		return nil, err
	}
	started := &Container{Process{container: container, init: true}}
	if err := started.run(c); err != nil {
		_ = started.Destroy()
		return nil, err
	}
	return started, nil
}

// joinNetwork completes the namespaces of a container that was created without its own
// network: libcontainer looks at them when it starts a process.
func joinNetwork(config *configs.Config, network func() (string, error)) error {
	if network == nil {
		return nil
	}
	path, err := network()
	if err == nil && path != "" {
		config.Namespaces.Add(configs.NEWNET, path)
		config.Networks = nil // who made it has set its loopback up
	}
	return err
}

// Exec runs another process in the container, with the user, capabilities,
// filter and stdio of c. It is called by the thread that called Start: a process
// dies with the thread that made it.
func (s *Container) Exec(c Config) (*Process, error) {
	p := &Process{container: s.container}
	if err := p.run(&c); err != nil {
		reapStages()
		return nil, err
	}
	return p, nil
}

// convert keeps user, capabilities and no_new_privs of the spec for the last
// stage: what libcontainer starts is still root, with the rights to set them.
func convert(c Config) (*configs.Config, error) {
	spec := *c.Spec
	process := *spec.Process
	spec.Process = &process
	process.User.UID, process.User.GID = 0, 0
	process.Capabilities = nil
	process.NoNewPrivileges = false
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:      c.ID,
		Spec:            &spec,
		RootlessCgroups: true,
		NoNewKeyring:    c.SharedKeyring,
	})
	if err != nil {
		return nil, fmt.Errorf("convert spec: %w", err)
	}
	// No device cgroup: a user namespace cannot make device nodes, and may not
	// load the program that would judge them.
	config.Cgroups.Resources.Devices = nil
	if c.NoGroup {
		// A place that does not exist: for one next to its own libcontainer reads a file of
		// the kernel's for each controller, to find that it may not make it.
		config.Cgroups.Parent = "/bryo"
		skipGroups()
	}
	if c.Wire != nil {
		hook := configs.NewFunctionHook(func(s *specs.State) error { return c.Wire(s.Pid) })
		config.Hooks = configs.Hooks{configs.CreateRuntime: {hook}}
	}
	return config, nil
}

// run starts the process of spec c in the container and waits for the report of
// its last stage.
func (s *Process) run(c *Config) error {
	if c.Spec.Process.Args[0] == "" {
		return &ExecError{Err: unix.ENOENT}
	}
	if tooLong(c.Spec.Process) {
		return &ExecError{Program: c.Spec.Process.Args[0], Err: unix.E2BIG}
	}
	// libcontainer's init does one thing after the other and limits itself to one
	// processor, but only when its runtime has made threads for all: it is told before.
	os.Setenv("GOMAXPROCS", "1")
	report, status, err := statusPair()
	if err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	defer report.Close()
	defer status.Close()
	program, err := laststage.New()
	if err != nil {
		return err
	}
	defer program.File.Close()

	s.process = newProcess(*c, program.Argv(c.Spec.Process.Args), s.init)
	s.process.ExtraFiles = []*os.File{program.File, status}
	prepared := s.prepare(*c, program, report)
	err = s.launch(*c)
	status.Close()
	s.holdMounts()
	p := <-prepared
	c.Filter = p.filter
	switch {
	case p.err != nil && (err == nil || !errors.Is(p.err, unix.EPIPE)): // without what it waits for, the process ended
		return p.err
	case err != nil: // it had ended before
		return cmp.Or(gaveUp(report), err)
	}
	err = laststage.ReadBegun(report)
	if err == nil {
		err = s.takeListener(c.Filter, report)
	}
	if err == nil {
		err = laststage.ReadReport(report)
	}
	if err != nil {
		report.Close() // a last stage that waits for us ends
		_, _ = s.process.Wait()
		return explain(err, c.Spec.Process.Args[0])
	}
	return nil
}

// prepared is a last stage that is complete, or why there is none.
type prepared struct {
	filter Filter
	err    error
}

// prepare completes the last stage and lets a first process go on: at once, or beside
// the start of libcontainer's own process when there is something left to do.
func (s *Process) prepare(c Config, program *laststage.Program, report *os.File) <-chan prepared {
	done := make(chan prepared, 1)
	if c.Ready == nil {
		done <- prepared{c.Filter, s.complete(c, program, report)}
		return done
	}
	go func() {
		linux.GrowStack()
		var err error
		if c.Filter, err = c.Ready(); err == nil {
			err = s.complete(c, program, report)
		}
		if err != nil {
			_ = unix.Shutdown(int(report.Fd()), unix.SHUT_RDWR) // who waits there ends
		}
		done <- prepared{c.Filter, err}
	}()
	return done
}

func (s *Process) complete(c Config, program *laststage.Program, report *os.File) error {
	err := program.Seal(plan(c))
	if err != nil || !s.init {
		return err
	}
	var view []byte
	if c.view != nil {
		if view, err = json.Marshal(c.view); err != nil {
			return err
		}
	}
	return laststage.Go(report, view)
}

// gaveUp is why a process ended before libcontainer's init; nil: it did not.
func gaveUp(report *os.File) error {
	var before *laststage.ErrBefore
	if err := laststage.ReadReport(report); errors.As(err, &before) {
		return before
	}
	return nil
}

// launch has libcontainer start the process.
func (s *Process) launch(c Config) error {
	if c.Console == nil {
		if err := s.container.Run(s.process); err != nil {
			return translate(err, c.Spec.Root)
		}
		return nil
	}
	receive, err := s.attachConsole(c.Console)
	if err != nil {
		return err
	}
	defer receive.close()
	if err := s.container.Run(s.process); err != nil {
		return translate(err, c.Spec.Root)
	}
	s.Console, err = receive.master()
	return err
}

// statusPair is what the last stage reports through, and what a first process is held
// back with.
func statusPair() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(pair[0]), "status"), os.NewFile(uintptr(pair[1]), "status"), nil
}

// takeListener hands the listener of the loaded filter on.
func (s *Process) takeListener(f Filter, report *os.File) error {
	if f.Listener == nil {
		return nil
	}
	listener, err := laststage.TakeListener(report, s.PID())
	if err != nil {
		return err
	}
	return f.Listener(listener)
}

// holdMounts keeps the mount namespace of a first process beyond its end: the kernel would
// take it apart, which it waits for all processors to do, before it tells of the end.
func (s *Process) holdMounts() {
	if s.init {
		s.mounts, _ = os.Open("/proc/" + strconv.Itoa(s.PID()) + "/ns/mnt")
	}
}

func explain(err error, program string) error {
	var stage *laststage.Error
	if errors.As(err, &stage) && stage.IsExec() {
		return &ExecError{Program: program, Err: stage.Errno}
	}
	return fmt.Errorf("start container: %w", err)
}

// setupCapabilities are what the last stage itself needs, beyond the final set.
var setupCapabilities = []string{"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_SYS_ADMIN"}

// fatalOnly is logrus's number of the level that libcontainer's stages report failures
// with. Without it they write some fifty lines for debugging, each of which wakes up the
// supervisor to be read and dropped.
const fatalOnly = "1"

func newProcess(c Config, argv []string, init bool) *libcontainer.Process {
	p := c.Spec.Process
	all := append([]string(nil), setupCapabilities...)
	if p.Capabilities != nil {
		all = append(all, p.Capabilities.Bounding...)
	}
	set := names(bits(all))
	process := &libcontainer.Process{
		Args:         argv,
		Env:          p.Env,
		Cwd:          p.Cwd,
		Init:         init,
		UID:          int(c.Owner.UID),
		GID:          int(c.Owner.GID),
		Capabilities: &configs.Capabilities{Bounding: set, Permitted: set, Effective: set, Inheritable: set, Ambient: ambient(c, set)},
		Rlimits:      rlimits(p.Rlimits),
		LogLevel:     fatalOnly,
	}
	// A nil *os.File in an io.Reader is not nil: leave the field alone.
	if c.Console == nil {
		process.Stdin, process.Stdout, process.Stderr = c.Stdin, c.Stdout, c.Stderr
	}
	return process
}

// ambient lets the set survive the execve of the last stage by another user than
// root; root has it anyway.
func ambient(c Config, set []string) []string {
	if c.Owner.UID == 0 {
		return nil
	}
	return set
}

func plan(c Config) *laststage.Plan {
	p := c.Spec.Process
	plan := &laststage.Plan{UID: p.User.UID, GID: p.User.GID, Flags: laststage.DieWithParent}
	plan.Filter, plan.FilterFlags = c.Filter.Program, c.Filter.Flags
	if c.Filter.Listener != nil {
		// A listener and TSYNC exclude each other, and here is one thread.
		plan.FilterFlags = plan.FilterFlags&^unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	if !c.Single {
		plan.Flags |= laststage.SetGroups
		plan.Groups = p.User.AdditionalGids
	}
	if p.NoNewPrivileges {
		plan.Flags |= laststage.NoNewPrivs
	}
	if c.Init {
		plan.Flags |= laststage.Init
	}
	if c.Console != nil {
		plan.Flags |= laststage.Terminal
	}
	if caps := p.Capabilities; caps != nil {
		plan.Bounding, plan.Permitted = bits(caps.Bounding), bits(caps.Permitted)
		plan.Effective, plan.Inheritable = bits(caps.Effective), bits(caps.Inheritable)
		plan.Ambient = bits(caps.Ambient)
	}
	return plan
}

var rlimitNumbers = map[string]int{
	"RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
	"RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
	"RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}

// HardLimit is what a limit of this process can be raised to, by the limit's name
// ("RLIMIT_NOFILE"), and whether there is such a limit.
func HardLimit(name string) (uint64, bool) {
	var l unix.Rlimit
	n, known := rlimitNumbers[name]
	known = known && unix.Getrlimit(n, &l) == nil
	return l.Max, known
}

func rlimits(list []specs.POSIXRlimit) []configs.Rlimit {
	var out []configs.Rlimit
	for _, l := range list {
		if n, ok := rlimitNumbers[l.Type]; ok {
			out = append(out, configs.Rlimit{Type: n, Hard: l.Hard, Soft: l.Soft})
		}
	}
	return out
}

// PID of the process, in the supervisor's pid namespace.
func (s *Process) PID() int {
	if s.again != nil {
		return s.again.Pid
	}
	pid, err := s.process.Pid()
	if err != nil {
		return 0
	}
	return pid
}

// Wait returns the exit status of the process.
func (s *Process) Wait() (syscall.WaitStatus, error) {
	if s.again != nil {
		return s.waitAgain()
	}
	state, err := s.process.Wait()
	var exit interface{ Sys() any }
	if state != nil {
		return state.Sys().(syscall.WaitStatus), nil
	}
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok {
			return status, nil
		}
	}
	return 0, fmt.Errorf("wait for container: %w", err)
}

// Signal sends a signal to the process.
func (s *Process) Signal(sig syscall.Signal) error {
	if s.again != nil {
		return s.again.Signal(sig)
	}
	return s.process.Signal(sig)
}

// Resize sets the size of the terminal.
func (s *Process) Resize(size Size) error {
	if s.Console == nil {
		return nil
	}
	raw, err := s.Console.SyscallConn() // not Fd: it may be closed meanwhile
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: size.Width, Row: size.Height})
	})
	return cmp.Or(err, failed)
}

// Limit changes the limits of a running container's control group.
func (s *Container) Limit(resources *specs.LinuxResources) error {
	limits, err := specconv.CreateCgroupConfig(&specconv.CreateOpts{
		Spec: &specs.Spec{Linux: &specs.Linux{Resources: resources}}, RootlessCgroups: true,
	}, nil)
	if err != nil {
		return fmt.Errorf("convert limits: %w", err)
	}
	config := s.container.Config()
	group := *config.Cgroups
	group.Resources = limits.Resources
	config.Cgroups = &group
	if err := s.container.Set(config); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	return nil
}

// Destroy removes what libcontainer keeps of a container that has ended.
func (s *Container) Destroy() error {
	s.mounts.Close()
	return s.container.Destroy()
}

// Code is docker's exit code for a program that could not be executed: 127 when
// it is not there, 126 otherwise.
func (e *ExecError) Code() int {
	if errors.Is(e.Err, unix.ENOENT) || errors.Is(e.Err, unix.ENOTDIR) {
		return 127
	}
	return 126
}
