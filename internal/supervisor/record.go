package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bryo/internal/logs"
	"bryo/internal/state"
	"bryo/internal/supervisor/rest"
	"bryo/internal/trace"
	"bryo/network"
	"bryo/network/port"
	"bryo/rootfs/etc"
	"bryo/rootfs/user"
	"bryo/sandbox/cgroup"
	"bryo/sandbox/userns"
)

// record is what a supervisor that rests has to remember. Its descriptors stay open, by
// the same numbers; none is -1. The reader is the very binary that wrote it.
type record struct {
	Start   Start
	Config  *state.Config
	Status  state.Status
	Memory  string
	Tree    treeRecord
	Group   cgroup.Group
	Etc     etc.Files
	Backoff time.Duration
	Keyring bool
	Log     logs.Unfinished

	Listener int
	Peer     int
	Ports    []port.Opened
	Wires    wiresRecord
	Stdio    stdioRecord

	parked []network.Parker
}

// treeRecord is a tree.
type treeRecord struct {
	Root, Jail, Dev                     string
	User                                user.User
	Mounts, Standard, Files, Own, Fresh []specs.Mount
}

// wiresRecord is wires. Device is the default network's, -1 for one without.
type wiresRecord struct {
	Namespace                  int
	Attached                   []attachedRecord
	Warning, StackLink, Served string
}

type attachedRecord struct {
	Name   string
	Device int
}

// stdioRecord is stdio: the outputs that have not ended, and the input.
type stdioRecord struct {
	Outputs        []outputRecord
	Input, Console int
}

type outputRecord struct {
	Stream string
	FD     int
}

// describe makes the record and the list of what the rest is to wait for. It parks the
// network; false: something is there that a record cannot hold, and nothing is parked.
func (s *supervisor) describe(ports []port.Opened) (r *record, watch []int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r = &record{
		Start: s.start, Config: s.config, Status: s.status, Memory: s.memory, Group: s.group, Etc: s.etc,
		Backoff: s.backoff.delay, Keyring: userns.SharedKeyring(), Tree: s.tree.record(),
		Listener: rest.Descriptor(s.door), Peer: descriptor(s.peer), Ports: ports,
	}
	if l, ok := s.outputs.log.(*logSink); ok {
		var idle bool
		if r.Log, idle = l.writer.Idle(); !idle {
			return nil, nil, false
		}
	}
	if r.Stdio, ok = s.stdio.record(); !ok {
		return nil, nil, false
	}
	if !r.park(&s.wires) {
		r.unpark()
		return nil, nil, false
	}
	return r, r.watched(), true
}

func descriptor(f *os.File) int {
	if f == nil {
		return -1
	}
	return rest.Descriptor(f)
}

func (t *tree) record() treeRecord {
	return treeRecord{t.root, t.jail, t.dev, t.user, t.mounts, t.standard, t.files, t.own, t.fresh}
}

// record is false for a terminal that its program has left: its master is an output that
// has ended and an input that goes on.
func (s *stdio) record() (r stdioRecord, ok bool) {
	r.Input, r.Console = descriptor(s.input), -1
	for _, p := range s.pumps {
		select {
		case <-p.done:
			if s.console != nil {
				return r, false
			}
			continue
		default:
		}
		fd := descriptor(p.from)
		if fd < 0 {
			return r, false
		}
		r.Outputs = append(r.Outputs, outputRecord{p.stream, fd})
	}
	if s.console != nil {
		r.Console, r.Input = r.Input, -1
	}
	return r, true
}

// park stops the networks. All but the default one and none have somebody to talk to.
func (r *record) park(w *wires) bool {
	r.Wires = wiresRecord{descriptor(w.namespace), nil, w.warning, w.stackLink, w.served}
	for _, a := range w.attached {
		fd := -1
		switch p, parks := a.Attachment.(network.Parker); {
		case parks:
			var idle bool
			if fd, idle = p.Park(); !idle {
				return false
			}
			r.parked = append(r.parked, p)
		case a.name != state.NetworkNone:
			return false
		}
		r.Wires.Attached = append(r.Wires.Attached, attachedRecord{a.name, fd})
	}
	return true
}

func (r *record) unpark() {
	for _, p := range r.parked {
		p.Unpark()
	}
}

// watched are the descriptors that bring work.
func (r *record) watched() []int {
	list := []int{r.Listener}
	for _, p := range r.Ports {
		list = append(list, p.FD)
	}
	for _, a := range r.Wires.Attached {
		list = append(list, a.Device)
	}
	for _, o := range r.Stdio.Outputs {
		list = append(list, o.FD)
	}
	return present(list)
}

// kept are the others.
func (r *record) kept() []int {
	return present([]int{r.Peer, r.Wires.Namespace, r.Stdio.Input, r.Stdio.Console})
}

func present(list []int) (open []int) {
	for _, fd := range list {
		if fd >= 0 {
			open = append(open, fd)
		}
	}
	return open
}

// begin rests; it returns with the reason why not.
func (r *record) begin(signals *rest.Signals, watch []int) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("rest: %w", err)
	}
	// The end of the program. A kernel without pidfds has no other that can be waited for.
	end, err := unix.PidfdOpen(r.Status.Init.PID, 0)
	if err != nil {
		return os.NewSyscallError("rest: pidfd_open", err)
	}
	defer unix.Close(end)
	return rest.Begin(rest.Plan{
		Record: data, Signals: signals, Watch: append(watch, end), Keep: r.kept(), Args: []string{"bryo", Role},
		Env: append(trace.Environ(), "PATH="+os.Getenv("PATH"), userns.RoleEnv(Role)),
	})
}
