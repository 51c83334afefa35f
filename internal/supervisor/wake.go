package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"bryo/internal/state"
	"bryo/internal/supervisor/rest"
	"bryo/internal/trace"
	"bryo/network"
	"bryo/network/port"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

// wake is Main for a process that has rested: the container runs, and what ended the
// rest waits in its descriptor.
func wake(plan *rest.Plan, err error) int {
	debug.SetGCPercent(50) // as after settle
	trace.Start("supervisor", userns.Began())
	r := &record{}
	if err == nil {
		err = json.Unmarshal(plan.Record, r)
	}
	var s *supervisor
	if err == nil {
		userns.Again(r.Keyring)
		s, err = r.supervisor(plan.Signals)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo: wake:", err)
		return 125
	}
	done := make(chan struct{})
	close(done)
	go s.passNoted()
	go s.seekRest(done)
	return s.liveOn(done)
}

// supervisor is the one that made the record, as it was.
func (r *record) supervisor(signals *rest.Signals) (*supervisor, error) {
	s := newSupervisor(&Control{}, r.Start)
	s.config, s.status, s.memory, s.group, s.etc = r.Config, r.Status, r.Memory, r.Group, r.Etc
	s.tree, s.backoff.delay, s.peer = r.Tree.tree(), r.Backoff, adopt(r.Peer, "network")
	s.signals, s.mapped = signals, pastMaps()
	catchJobSignals()
	console := adopt(r.Stdio.Console, "console")
	if err := s.reopen(r, console); err != nil {
		return nil, err
	}
	s.ports = port.Adopt(r.Ports)
	close(s.opened)
	if err := s.adoptWires(&r.Wires); err != nil {
		return nil, err
	}
	s.stdio = r.Stdio.stdio(s, console)
	s.serveOn(adopt(r.Listener, "control listener"))
	s.watchNetwork()
	if err := s.servePorts(); err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
	}
	return s, nil
}

// reopen takes up what has no descriptor of ours: the log and the running container.
func (s *supervisor) reopen(r *record, console *os.File) error {
	err := patiently(func() (err error) {
		s.outputs.log, err = s.openLog()
		return err
	})
	if err != nil {
		return err
	}
	if l, ok := s.outputs.log.(*logSink); ok {
		l.writer.GoOn(r.Log)
	}
	return patiently(func() (err error) {
		s.sandbox, err = sandbox.Again(s.runDir(), s.config.ID, s.status.Init.PID, console)
		return err
	})
}

// patiently tries for a minute what may fail for want of memory or descriptors: the
// container lives on meanwhile.
func patiently(do func() error) (err error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if err = do(); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// adopt makes a file of a descriptor that is open; nil for -1.
func adopt(fd int, name string) *os.File {
	if fd < 0 {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

func (t *treeRecord) tree() *tree {
	return &tree{
		root: t.Root, jail: t.Jail, dev: t.Dev, user: t.User,
		mounts: t.Mounts, standard: t.Standard, files: t.Files, own: t.Own, fresh: t.Fresh,
	}
}

// stdio goes on with what the program writes.
func (r *stdioRecord) stdio(s *supervisor, console *os.File) *stdio {
	io := &stdio{gate: &s.gate, input: adopt(r.Input, "|1")}
	if console != nil {
		io.console, io.input = &sandbox.Size{}, console
	}
	for _, o := range r.Outputs {
		from := console
		if from == nil {
			from = adopt(o.FD, "|0")
			io.ours = append(io.ours, from)
		}
		io.pump(&s.outputs, o.Stream, from)
	}
	return io
}

// adoptWires goes on with the container's networks, whose devices are there.
func (s *supervisor) adoptWires(r *wiresRecord) error {
	s.wires = wires{namespace: adopt(r.Namespace, "network"), warning: r.Warning, stackLink: r.StackLink, served: r.Served}
	for _, a := range r.Attached {
		attached := network.None{}.Adopt()
		if a.Device >= 0 {
			config := networkConfig(s.networkNamed(a.Name))
			config.Device = r.StackLink
			var err error
			if attached, err = (network.Default{}).Adopt(a.Device, config); err != nil {
				return err
			}
		}
		s.wires.attached = append(s.wires.attached, attachment{a.Name, attached})
	}
	return nil
}

// networkNamed is what the user said of a network.
func (s *supervisor) networkNamed(name string) state.Network {
	for _, n := range s.config.Host.Networks {
		if n.Name == name {
			return n
		}
	}
	return state.Network{Name: name}
}
