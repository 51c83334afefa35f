package supervisor

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/internal/supervisor/rest"
	"bryo/internal/trace"
	"bryo/network/port"
	"bryo/rootfs/etc"
	"bryo/rootfs/mount"
	"bryo/rootfs/volume"
	"bryo/sandbox"
	"bryo/sandbox/cgroup"
	"bryo/sandbox/userns"
)

// supervisor is one container's life: started, perhaps restarted, ended.
type supervisor struct {
	control    *Control // of the command that started it
	start      Start
	containers state.Dir
	outputs    outputs
	starter    *client     // the command in front, without files in a detached one
	main       chan func() // what the main thread has to do
	unseen     bool        // the main thread's: a program runs, and no other command knows yet

	mu      sync.Mutex // guards what follows
	config  *state.Config
	mark    state.Mark // of the file that config was read from; none when that is not all of it
	status  state.Status
	sandbox *sandbox.Container // nil while nothing runs
	last    *sandbox.Container // the one that ended
	stdio   *stdio
	stopped bool // by the user: no restart
	health  *monitor
	lost    []port.Mapping // ports that a cut network led to: wanted again when it is back

	memory      string          // the run directory, once it is mounted
	early       *mount.Detached // the root, if prepareEarly made it
	foreseen    *tree           // what it will be, if that is known
	plainPlaces bool            // of the root, for the kernel's file systems
	tree        *tree           // mounted once, for all restarts
	group       cgroup.Group    // the container's own, if it has one
	wires       wires
	etc         etc.Files // what the run's hosts, hostname and resolv.conf were given last
	ports       *port.Set
	opened      chan struct{} // closed once ports is set: the networks look at it
	mapped      *maps
	wiring      *wiring    // of the start that is under way
	peer        *os.File   // the network namespace of another container that this one shares
	linesMu     sync.Mutex // guards lines
	lines       lines
	killedBy    atomic.Int32
	removed     bool
	withdrawn   string // where remove put the directory
	detached    atomic.Bool
	ended       atomic.Bool // the exit code is on its way to the command
	stopAsked   atomic.Bool // by `stop`, for the journal
	waiters     *waiters
	halt        chan struct{} // closed when stopped is set

	// What must be quiet for it to rest, see rest.go.
	gate    gate
	door    *os.File      // where clients come in
	signals *rest.Signals // nil in one that never rests
	clients atomic.Int32  // the command that started it is one
	execs   atomic.Int32  // processes that exec started, and who holds their outputs
	backoff backoff
}

func newSupervisor(control *Control, start Start) *supervisor {
	return &supervisor{
		control: control, start: start, containers: state.Open(start.Root), main: make(chan func()),
		waiters: newWaiters(), halt: make(chan struct{}), opened: make(chan struct{}), starter: &client{},
	}
}

// supervise runs on the main thread until the container is over for good.
func (s *supervisor) supervise(signals chan os.Signal) int {
	s.starter = s.foregroundClient()
	if err := s.launch(s.starter); err != nil {
		s.failedToStart(err)
		return fail(s.control, err)
	}
	if !s.unseen {
		s.listen()
	}
	_ = s.control.Send(Message{Started: &Started{PID: s.sandbox.PID(), Warning: s.wires.warning}})
	swept := make(chan struct{})
	go func() {
		if !s.config.Host.Remove {
			s.containers.Sync(s.start.ID)
		}
		s.containers.Sweep()
		close(swept)
		if !s.start.Foreground {
			settle()
			return
		}
		debug.SetGCPercent(100)
	}()
	s.clients.Add(1)
	go s.followStarter()
	go s.passSignals(signals)
	if s.signals != nil {
		go s.passNoted()
		go s.seekRest(swept)
	}
	return s.liveOn(swept)
}

// liveOn is the rest of the life of a container whose program runs.
func (s *supervisor) liveOn(swept <-chan struct{}) int {
	code := s.runToTheEnd()
	s.finish(code)
	trace.Mark("end recorded")
	s.leaveStdio()
	s.ended.Store(true)
	_ = s.control.Send(Message{Exited: &Exited{Code: code, Lost: s.starter.loss()}})
	s.waiters.release(code)
	<-swept // nobody waits for us any more
	s.clearWithdrawn()
	trace.Mark("cleaned up")
	return code
}

// leaveStdio closes the command's files before it is told of the end: who reads
// a pipe that the command wrote to sees its end now, not after our clean-up.
func (s *supervisor) leaveStdio() {
	if !s.start.Foreground {
		return
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	for fd := range 3 {
		_ = unix.Dup3(null, fd, 0)
	}
}

// foregroundClient is the command that started us, with our own stdio; a
// detached container starts without a client.
func (s *supervisor) foregroundClient() *client {
	if !s.start.Foreground {
		return &client{}
	}
	s.outputs.last = true
	c := &client{}
	if s.start.Output.Stdin {
		c.stdin = os.Stdin
	}
	if s.start.Output.Stdout {
		c.stdout = os.Stdout
	}
	if s.start.Output.Stderr {
		c.stderr = os.Stderr
	}
	return c
}

// launch brings the container up to its program's first instruction.
func (s *supervisor) launch(first *client) error {
	if s.config == nil {
		if err := s.enlist(func(*state.Config) {}); err != nil {
			return err
		}
	}
	if err := s.openPorts(); err != nil {
		return err
	}
	close(s.opened)
	if s.wiring == nil { // not yet begun
		s.beginWiring()
	}
	s.mountRun()
	placed := s.findPlace()
	var err error
	if s.foreseen == nil {
		if err := s.prepareTree(); err != nil {
			return err
		}
	}
	if s.outputs.log, err = s.openLog(); err != nil {
		return err
	}
	if err := <-placed; err != nil {
		return err
	}
	if s.foreseen != nil {
		return s.launchForeseen(first)
	}
	return s.startProgram(first, s.start.Size)
}

// errTaken: another supervisor has the container.
var errTaken = errors.New("container is already running")

// enlist reads the container and records this process as its supervisor, under
// the container's lock: who removes it sees it, and of two starts one is refused. known is
// called as soon as the container is read.
func (s *supervisor) enlist(known func(*state.Config)) error {
	release, err := s.containers.Lock(s.start.ID)
	if err != nil {
		return err
	}
	defer release()
	mark := s.containers.Mark(s.start.ID)
	config, err := s.containers.Load(s.start.ID)
	if err != nil {
		return err
	}
	s.mark = mark
	known(config)
	if old, err := s.containers.Status(config.ID); err == nil {
		if !awaitGone(old) {
			return errTaken
		}
		s.status = *old
		if err := s.clearRemains(); err != nil {
			return err
		}
		s.containers.BuryLocked(config.ID)
	}
	s.config = config
	s.status.Phase, s.status.Error = state.Created, ""
	s.status.Supervisor, s.status.Init = linux.RefProcess(os.Getpid()), linux.ProcessRef{}
	return s.containers.WriteStatus(config.ID, &s.status)
}

// awaitGone waits for the last supervisor when it has nothing left to do but to
// end; false: it is at work.
func awaitGone(old *state.Status) bool {
	for end := time.Now().Add(remainsTime); old.Supervisor.Alive(); time.Sleep(time.Millisecond) {
		ending := old.Phase == state.Exited || old.Phase == state.Created && old.Error != ""
		if !ending || time.Now().After(end) {
			return false
		}
	}
	return true
}

// clearRemains ends and removes what a supervisor left that was killed: a first
// process that is about to die with it, and libcontainer's record.
func (s *supervisor) clearRemains() error {
	if old := s.status.Init; old.Alive() {
		_ = old.Kill(unix.SIGKILL)
		for end := time.Now().Add(remainsTime); old.Alive(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("process %d of the last run does not end", old.PID)
			}
		}
	}
	return os.RemoveAll(s.runDir())
}

// remainsTime is how long a killed process may take to end.
const remainsTime = 5 * time.Second

// startProgram runs the container's program in a new sandbox on the mounted tree.
func (s *supervisor) startProgram(first *client, size *Size) error {
	if err := s.furnish(s.tree); err != nil {
		return err
	}
	spec, err := s.spec(s.tree)
	if err != nil {
		return err
	}
	filter, err := s.filter(spec)
	if err != nil {
		return err
	}
	return s.run(first, size, sandbox.Config{Spec: spec, Filter: filter})
}

// furnish completes the tree for a run, once its network is there.
func (s *supervisor) furnish(t *tree) error {
	if err := s.awaitWiring(); err != nil {
		return err
	}
	return s.fillJail(t)
}

// run starts the program of a sandbox and records it.
func (s *supervisor) run(first *client, size *Size, config sandbox.Config) error {
	trace.Mark("spec ready")
	stdio, err := openStdio(ioPlan{
		tty: s.config.Process.Tty, size: size, stdin: s.config.Process.Stdin, log: s.outputs.log,
		keep: !s.start.Foreground || s.detached.Load(), gate: &s.gate,
	}, first, &s.outputs)
	if err != nil {
		stdio.discard()
		return err
	}
	config.ID, config.StateDir, config.Init = s.config.ID, s.runDir(), s.config.Host.Init
	config.NoGroup = s.group.Path == "" && !s.config.Mapping.Direct
	config.Single, config.Owner = s.config.Mapping.Single, owner(s.config)
	config.SharedKeyring = userns.SharedKeyring() && s.deniesKeyrings()
	config.Stdin, config.Stdout, config.Stderr, config.Console = stdio.stdin, stdio.stdout, stdio.stderr, stdio.console
	config.Wire = s.attachLate()
	box, err := sandbox.Start(config)
	if err != nil {
		stdio.discard()
		s.unwire()
		return explain(&s.config.Host, err)
	}
	trace.Mark("program executed")
	stdio.serve(box.Console)
	stdio.feedInput(first.stdin, true)
	s.mu.Lock()
	s.sandbox, s.stdio = box, stdio
	s.mu.Unlock()
	s.killedBy.Store(0)
	s.alter(func(st *state.Status) {
		st.Phase, st.Started, st.Finished = state.Running, time.Now().UTC(), time.Time{}
		st.StoppedByUser, st.Cgroup = false, s.group.Path
		st.Init, st.OOMKilled = linux.RefProcess(box.PID()), false
		st.Health, st.Networks, st.Ports = s.firstHealth(), s.wires.endpoints(), s.ports.Mappings()
	})
	s.watchNetwork()
	if err := s.servePorts(); err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
	}
	if s.unseen = s.start.Foreground && !s.detached.Load(); !s.unseen {
		s.show()
	}
	return nil
}

// unseenTime is how long a program runs in the foreground before other commands are told
// that it does. It is less than any of them takes to start; many a program is shorter, and
// what it would cost to record it as running is saved.
const unseenTime = 2 * time.Millisecond

// appear lets other commands see a program in the foreground, and reach it.
func (s *supervisor) appear() {
	s.unseen = false
	s.show()
	s.listen()
}

// show records that the program runs.
func (s *supervisor) show() {
	s.writeStatus()
	s.announceStart()
	s.startHealth()
}

// listen opens the container to other commands.
func (s *supervisor) listen() {
	if err := s.serve(); err != nil {
		fmt.Fprintln(os.Stderr, "bryo: container cannot be reached by other commands:", err)
	}
}

// runToTheEnd waits for the program, and starts it again as long as the restart
// policy says so. It returns the last exit code.
func (s *supervisor) runToTheEnd() int {
	for {
		code := s.waitProgram()
		trace.Mark("program ended")
		if !s.wantsRestart(code) {
			return code
		}
		s.change(func(st *state.Status) {
			st.Phase, st.ExitCode, st.Finished = state.Restarting, code, time.Now().UTC()
			st.Init = linux.ProcessRef{}
		})
		if s.door == nil { // it was too short to be seen
			s.listen()
		}
		s.waiters.restarting(code)
		s.partFromStarter(code)
		if !s.pauseBefore(s.backoff.next(time.Since(s.status.Started))) {
			return code
		}
		err := s.tree.mountFresh()
		if err == nil {
			err = s.renew()
		}
		if err == nil {
			err = s.startProgram(&client{}, nil)
		}
		if err != nil {
			s.change(func(st *state.Status) { st.Error = err.Error() })
			return failure(err).Code
		}
		s.change(func(st *state.Status) { st.Restarts++ })
	}
}

// partFromStarter tells the command that started us in its foreground of the first
// end, as docker does: what the restart policy does next, it does in the background.
func (s *supervisor) partFromStarter(code int) {
	if !s.start.Foreground || !s.detached.CompareAndSwap(false, true) {
		return
	}
	s.outputs.leave()
	leaveTerminal()
	_ = s.control.Send(Message{Exited: &Exited{Code: code, Lost: s.starter.loss()}})
}

// waitProgram serves the main thread's work until the program has ended and all
// its output is passed on.
func (s *supervisor) waitProgram() int {
	ended := make(chan struct{})
	box, stdio := s.sandbox, s.stdio
	go func() {
		// Not yet waited for: its exit status must not be in the hands of a thread
		// when the supervisor rests.
		_ = linux.AwaitEnd(box.PID())
		close(ended)
	}()
	var late <-chan time.Time
	if s.unseen {
		late = time.After(unseenTime)
	}
	for {
		select {
		case work := <-s.main:
			work()
		case <-late:
			s.appear()
		case <-ended:
			if s.unseen {
				s.unseen = false
				s.announceStart()
				s.startHealth()
			}
			status, err := box.Wait()
			if err != nil {
				fmt.Fprintln(os.Stderr, "bryo:", err)
			}
			code := exitCode(status)
			if sig := s.killedBy.Load(); sig != 0 && status.Signaled() {
				code = 128 + int(sig)
			}
			stdio.drain()
			s.noteOutOfMemory()
			// With a pid namespace of its own all its processes are dead, and what
			// is left has time until clearWithdrawn.
			if !s.config.Host.Remove || s.config.Host.PID == "host" {
				_ = box.Destroy()
			}
			s.mu.Lock()
			s.sandbox, s.last = nil, box
			s.mu.Unlock()
			s.endHealth()
			s.announceEnd(code)
			return code
		}
	}
}

// onMain runs work on the main thread, between start and end of the program.
func (s *supervisor) onMain(work func()) bool {
	done := make(chan struct{})
	select {
	case s.main <- func() { work(); close(done) }:
		<-done
		return true
	case <-s.waiters.over:
		return false
	}
}

// failedToStart leaves a container that can be looked at, or nothing of a --rm one.
func (s *supervisor) failedToStart(err error) {
	if s.config == nil {
		return // not ours to change
	}
	s.freePorts()
	if s.config.Host.Remove {
		s.remove()
		s.clearWithdrawn()
		return
	}
	s.change(func(st *state.Status) {
		st.Phase, st.Error, st.ExitCode = state.Created, err.Error(), failure(err).Code
	})
	s.unmountTree(s.dir())
}

// finish records the end, or removes all of a --rm container, before anyone is
// told: who saw the exit code finds no trace.
func (s *supervisor) finish(code int) {
	s.freePorts()
	s.closeLog()
	os.Remove(SocketPath(s.containers, s.start.ID))
	if s.stopAsked.Load() {
		s.announce("stop")
	}
	if s.config.Host.Remove {
		s.remove()
		return
	}
	s.change(func(st *state.Status) {
		st.Phase, st.ExitCode, st.Finished = state.Exited, code, time.Now().UTC()
		st.Networks = nil
	})
}

// remove takes the container out of sight. Unmounting and deleting cost more than
// many a program runs, so that is clearWithdrawn's, when the command has its
// answer.
func (s *supervisor) remove() {
	s.removed = true
	config := s.onDisk()
	if anonymous := config.Volumes(); len(anonymous) > 0 {
		defer func() {
			_ = volume.NewStore(s.start.Root).RemoveAnonymous(anonymous, s.containers.VolumeUsers)
		}()
	}
	dir, err := s.containers.Withdraw(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
		return
	}
	s.withdrawn = dir
	s.announce("destroy")
}

// onDisk is the container as its config has it now: a rename may have come between.
func (s *supervisor) onDisk() *state.Config {
	s.mu.Lock()
	config, mark := s.config, s.mark
	s.mu.Unlock()
	if mark != (state.Mark{}) && mark == s.containers.Mark(s.start.ID) {
		return config
	}
	if fresh, err := s.containers.Load(s.start.ID); err == nil {
		return fresh
	}
	return &state.Config{ID: s.start.ID}
}

// clearWithdrawn deletes the directory that remove left. Its files may belong to
// subordinate ids, so this is done here, where they can be deleted.
func (s *supervisor) clearWithdrawn() {
	if s.withdrawn == "" {
		return
	}
	if s.last != nil {
		_ = s.last.Destroy()
	}
	s.unmountTree(s.withdrawn)
	// A directory that cannot be deleted keeps its marker for the next sweep.
	_ = s.containers.DeleteWithVolumes(s.config)
}

// unmountTree detaches all that this process mounted for the container whose
// directory is dir now.
func (s *supervisor) unmountTree(dir string) {
	unmountAll(s.runDir())
	unmountAll(dir)
}

// unmountAll detaches what this process mounted below dir, the last first, so that
// the directory can be deleted. What it leaves keeps state.Delete from deleting. What is
// mounted below a mount goes with it: the kernel waits for all processors once for each call.
func unmountAll(dir string) {
	mounts, _ := linux.MountsBelow(dir)
	for _, at := range slices.Backward(mounts) {
		if !slices.ContainsFunc(mounts, func(above string) bool { return strings.HasPrefix(at, above+"/") }) {
			_ = unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
}
