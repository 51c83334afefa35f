package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/network"
	"bryo/network/bridge"
	"bryo/network/bypass"
	"bryo/network/port"
	"bryo/rootfs/etc"
	"bryo/sandbox/userns"
)

// wires are a started container's network: its namespace and what that is
// attached to, in the order of the user's flags. A start makes new ones.
type wires struct {
	namespace *os.File // nil: the host's, or made by libcontainer
	attached  []attachment
	bypass    *bypass.Handler // nil: the container's sockets are its own
	warning   string

	// Of the container's list of networks, see survey.
	defined map[string]*bridge.Config

	stackLink string // the default network's device; "": it has none

	served string // the network that published ports lead to
}

// attachment is the namespace on one network.
type attachment struct {
	name string
	network.Attachment
}

// wiring is a network that is being made.
type wiring struct {
	made chan struct{} // closed when there is a namespace, or none
	done chan wired

	file *os.File // after made
	err  error
}

// wired is what a start hears of its network.
type wired struct {
	wires wires
	err   error
}

// namespace waits until the network has its namespace; nil where it has none yet.
func (w *wiring) namespace() (*os.File, error) {
	<-w.made
	return w.file, w.err
}

// share is the namespace by another descriptor.
func (w *wiring) share() (*os.File, error) {
	namespace, err := w.namespace()
	if err != nil || namespace == nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(namespace.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("join network namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), "network"), nil
}

// beginWiring makes the network beside the other steps of a start, which wait for it
// in awaitWiring. Where the container is a user namespace of its own (keep-id),
// its network namespace must be owned by that, which is not there yet: attachLate.
func (s *supervisor) beginWiring() {
	w := &wiring{made: make(chan struct{}), done: make(chan wired, 1)}
	s.wiring = w
	if s.peer != nil {
		w.file, w.err = os.Open(fmt.Sprintf("/proc/self/fd/%d", s.peer.Fd()))
	}
	if s.peer != nil || !s.config.Host.OwnNetwork() || s.config.Host.KeepID != nil {
		s.mapped.decline()
		close(w.made)
		w.done <- wired{wires{namespace: w.file}, w.err}
		return
	}
	go func() {
		w.file, w.err = s.mapped.namespace()
		close(w.made)
		<-s.opened
		made, err := wires{namespace: w.file}, w.err
		if err == nil {
			err = s.attach(&made, w.file)
		}
		trace.Mark("network attached")
		w.done <- wired{made, err}
	}()
}

// awaitWiring ends when the network is there, and writes what the container's
// files in /etc say about it.
func (s *supervisor) awaitWiring() error {
	got := <-s.wiring.done
	s.wires = got.wires
	if got.err != nil {
		s.unwire()
		return got.err
	}
	return s.writeEtc()
}

// attachLate attaches the namespace of a process that is about to become the
// container's first; nil where that is done.
func (s *supervisor) attachLate() func(pid int) error {
	if s.config.Host.KeepID == nil || !s.config.Host.OwnNetwork() || s.wires.namespace != nil {
		return nil
	}
	return func(pid int) error {
		namespace, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
		if err != nil {
			return fmt.Errorf("attach network: %w", err)
		}
		s.wires.namespace = namespace
		if err := s.attach(&s.wires, namespace); err != nil {
			return err
		}
		return s.writeEtc()
	}
}

// attach wires the namespace to all networks that the container asks for.
func (s *supervisor) attach(w *wires, namespace *os.File) error {
	config := s.config
	groups := config.Mapping.GIDs
	if keep := config.Host.KeepID; keep != nil {
		groups = keep.GIDs
	}
	// On a read-only /proc/sys pings and low ports need root inside.
	_ = network.OpenToUsers(namespace, contiguous(groups))
	if err := w.survey(s.start.Root, config.Host.Networks); err != nil {
		return err
	}
	if slices.ContainsFunc(config.Host.Networks, state.Network.HasStack) {
		w.stackLink = "eth0"
	}
	for _, n := range config.Host.Networks {
		if n.Defined() {
			p, err := s.join(config, w, namespace, n)
			if err != nil {
				return err
			}
			if p.Warning() != "" {
				w.warning = p.Warning()
			}
			w.attached = append(w.attached, attachment{n.Name, p})
			continue
		}
		a, err := attachTo(n, namespace)
		if noTUN(err) {
			a, err = w.withoutTUN(&n, namespace, errors.Unwrap(err))
		}
		if err != nil {
			return err
		}
		w.attached = append(w.attached, attachment{n.Name, a})
		if n.Name == state.NetworkBypass {
			if w.bypass, err = s.startBypass(namespace, n, a); err != nil {
				return err
			}
		}
	}
	if s.enclosed() {
		w.warning = "published ports are discarded: the container is on internal networks only"
	}
	if len(w.attached) == 0 { // made before networks had names
		a, err := attachTo(state.Network{Name: state.NetworkNone}, namespace)
		w.attached = append(w.attached, attachment{state.NetworkNone, a})
		return err
	}
	return nil
}

// contiguous counts the ids that are mapped without a gap from 0 up.
func contiguous(ranges []userns.Range) (count uint32) {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b userns.Range) int { return int(a.Inside) - int(b.Inside) })
	for _, r := range sorted {
		if r.Inside == count {
			count += r.Count
		}
	}
	return count
}

func attachTo(n state.Network, namespace *os.File) (network.Attachment, error) {
	driver, err := network.New(n.Name)
	if err != nil {
		return nil, err
	}
	return driver.Attach(context.Background(), namespace, networkConfig(n))
}

func networkConfig(n state.Network) network.Config {
	return network.Config{HostLoopback: n.HostLoopback, Metadata: n.Metadata, MTU: n.MTU}
}

// withoutTUN is the default network, or bypass, on a host that lets this user make
// no TUN device: connections by redirection, or else nothing. It is said once, and
// no reason not to start.
func (w *wires) withoutTUN(n *state.Network, namespace *os.File, reason error) (network.Attachment, error) {
	if n.Name == state.NetworkBypass {
		w.warning = reason.Error() + ": bypass without ping, and without UDP from published ports (bryo doctor has the cure)"
		return network.Redirect{NoTCP: true}.Attach(context.Background(), namespace, networkConfig(*n))
	}
	a, err := network.Redirect{}.Attach(context.Background(), namespace, networkConfig(*n))
	if err == nil {
		w.warning = reason.Error() + ": outbound TCP and DNS by redirection, no other UDP, no ping (bryo doctor has the cure)"
		return a, nil
	}
	w.warning = "no network in the container: " + reason.Error() + ", and " + err.Error() + " (bryo doctor has the cure)"
	n.Name = state.NetworkNone
	return attachTo(*n, namespace)
}

// noTUN: the host has no such device, or not for this user.
func noTUN(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Path == network.TUN
}

// namespacePath is where libcontainer finds a namespace; "": it makes one.
func namespacePath(namespace *os.File) string {
	if namespace == nil {
		return ""
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), namespace.Fd())
}

// endpoints is what status.json says of the networks.
func (w *wires) endpoints() (list []state.Endpoint) {
	for _, a := range w.attached {
		e := state.Endpoint{Name: a.name, Addresses: a.Addresses(), Gateways: a.Gateways(), DNS: a.DNS()}
		if p, ok := a.Attachment.(*bridge.Place); ok {
			e.MAC, e.Link = p.MAC(), p.Link()
		}
		list = append(list, e)
	}
	return list
}

// watchNetwork marks the container when one of its networks ends by itself.
func (s *supervisor) watchNetwork() {
	for _, a := range s.wires.attached {
		s.watch(a)
	}
}

func (s *supervisor) watch(a attachment) {
	go func() {
		<-a.Done()
		if err := a.Err(); err != nil {
			s.cutOff(a.name, err)
		}
	}()
}

// cutOff marks the container and frees its ports: who connects to them is refused
// instead of waiting.
func (s *supervisor) cutOff(name string, err error) {
	fmt.Fprintf(os.Stderr, "bryo: network %s: %v: the container is cut off\n", name, err)
	s.losePorts()
	s.change(func(st *state.Status) {
		if e := endpointOf(st, name); e != nil {
			e.Error = err.Error()
		}
	})
}

// losePorts closes the published ports of a network that is gone or leads nowhere, and
// remembers their numbers: they are wanted again when it is back.
func (s *supervisor) losePorts() {
	ports := s.publishedPorts()
	s.mu.Lock()
	s.lost = ports.Mappings()
	s.mu.Unlock()
	ports.Close()
	s.change(func(st *state.Status) { st.Ports = nil })
}

func (s *supervisor) publishedPorts() *port.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports
}

// renew gives the container a new network for its next run, and its ports back if
// the last one's end took them.
func (s *supervisor) renew() error {
	s.unwire()
	s.beginWiring()
	if len(s.ports.Mappings()) > 0 {
		return nil
	}
	return s.openPorts()
}

// unwire lets go of the network. The devices go with the namespace: the kernel
// takes its time for that, and nobody waits for it.
func (s *supervisor) unwire() {
	s.ports.Pause()
	w := s.wires
	s.wires = wires{}
	go func() {
		for _, a := range w.attached {
			_ = a.Close()
		}
		if w.bypass != nil {
			_ = w.bypass.Close()
		}
		if w.namespace != nil {
			w.namespace.Close()
		}
	}()
}

// openPorts listens on the container's published ports, before anything else is
// done for it.
func (s *supervisor) openPorts() error {
	h := s.config.Host
	if h.Network == state.NetworkHost || h.Network == state.NetworkNone || s.enclosed() {
		return nil
	}
	open := port.Open
	if s.bypassing() != 0 {
		open = port.Reserve
	}
	s.mu.Lock()
	before := s.status.Ports
	if len(before) == 0 {
		before = s.lost
	}
	s.mu.Unlock()
	ports, err := open(h.Publish, before)
	s.mu.Lock()
	s.ports = ports
	s.mu.Unlock()
	return err
}

// enclosed: all networks of the container are internal. Nothing leads to its ports
// then, as with docker.
func (s *supervisor) enclosed() bool {
	list := s.config.Host.Networks
	if len(s.config.Host.Publish) == 0 {
		return false // nobody asks
	}
	for _, n := range list {
		if !n.Defined() {
			return false
		}
		if c, err := bridge.NewStore(s.start.Root).Load(n.Name); err != nil || !c.Internal {
			return false
		}
	}
	return len(list) > 0
}

// movePorts brings the published ports to the network that leads out now. Without
// one they are closed: who connects is refused.
func (s *supervisor) movePorts() error {
	if len(s.config.Host.Publish) == 0 || s.bypassing() != 0 {
		return nil
	}
	if len(s.wires.attached) == 0 || s.enclosed() {
		s.losePorts()
		return nil
	}
	switch {
	case len(s.ports.Mappings()) == 0:
		if err := s.openPorts(); err != nil {
			return err
		}
		s.change(func(st *state.Status) { st.Ports = s.ports.Mappings() })
	case s.wires.wayOut(s.config.Host.Networks).name == s.wires.served:
		return nil
	default:
		s.ports.Pause()
	}
	return s.servePorts()
}

// freePorts lets the published ports go at once, before anyone hears of the end.
func (s *supervisor) freePorts() {
	if s.wires.bypass != nil {
		_ = s.wires.bypass.Close() // it holds copies
	}
	s.ports.Close()
}

// servePorts connects the ports with the network that the container has now.
func (s *supervisor) servePorts() error {
	w := &s.wires
	if len(w.attached) == 0 {
		return nil
	}
	way := w.wayOut(s.config.Host.Networks)
	w.served = way.name
	t := port.Target{
		Namespace: w.namespace, Gateways: way.Gateways(),
		Enter: func(fn func() error) error { return network.OnNamespace(int(w.namespace.Fd()), fn) },
	}
	for _, p := range way.Addresses() {
		t.Addresses = append(t.Addresses, p.Addr())
	}
	if inlet, ok := way.Attachment.(network.Datagrams); ok {
		t.Datagrams = func(fd int, n uint16) (func(), error) { return inlet.Datagrams(fd, t.Addresses, n) }
	}
	if inlet, ok := way.Attachment.(network.Inlet); ok {
		t.Inbound = inlet.Inbound
	}
	return s.ports.Serve(t)
}

// writeEtc writes hosts, hostname and resolv.conf of the container's next run.
func (s *supervisor) writeEtc() (err error) {
	if s.etc, err = s.makeEtc(); err != nil {
		return err
	}
	return s.etc.Write(s.dir())
}

// updateEtc changes them in a container that runs.
func (s *supervisor) updateEtc() error {
	files, err := s.makeEtc()
	if err != nil {
		return err
	}
	err = files.Update(s.dir(), s.etc)
	s.etc = files
	return err
}

func (s *supervisor) makeEtc() (none etc.Files, err error) {
	c := s.config
	if c.Host.Peer() != "" {
		return s.peerEtc(c.Host.Peer()), nil
	}
	shares := etc.Private
	switch {
	case !c.Host.OwnNetwork():
		shares = etc.Host
	case len(s.wires.attached) == 0 || s.wires.attached[0].name == state.NetworkNone:
		shares = etc.None
	}
	host, err := etc.ReadHost(shares)
	if err != nil {
		return none, err
	}
	o := etc.Options{
		Hostname: hostname(c), Domainname: c.Host.Domainname, Network: shares,
		AddHosts: c.Host.AddHosts, DNS: c.Host.DNS, Search: c.Host.DNSSearch, Options: c.Host.DNSOptions,
	}
	for _, e := range s.wires.endpoints() {
		for _, p := range e.Addresses {
			o.Addresses = append(o.Addresses, p.Addr())
		}
	}
	o.HostGateway = s.wires.hostGateway()
	var defined bool
	if o.Nameservers, defined = s.wires.nameservers(); defined {
		// --dns is for the network's own server to ask: it knows the containers. A
		// name without a dot is one of theirs before it is one of a search domain.
		if !s.wires.holdsAny(o.DNS) {
			o.DNS = nil
		}
		if o.Options == nil {
			o.Options = []string{"ndots:0"}
		}
	}
	if shares == etc.Host {
		o.HostGateway = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if defined && !o.HostGateway.IsValid() && wantsHost(o.AddHosts) {
		return none, fmt.Errorf("host-gateway: network %s keeps the host's loopback away: make it with -o %s=true", c.Host.Network, bridge.OptionHost)
	}
	return etc.Make(o, host)
}
