package bridge

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/network/dns"
	"bryo/network/rtnl"
	"bryo/network/stack"
)

const (
	// linger is how long a helper waits for the next container, so that one after
	// the other does not pay for a start each.
	linger = time.Second
	// lingerKept is that of a helper that took over from one that was killed: the
	// supervisors come back to it within milliseconds, on a busy machine seconds.
	lingerKept = 10 * time.Second
)

// helper serves one network. mu guards all that follows it.
type helper struct {
	dir    string
	config *Config
	router *router
	uplink *stack.Stack // nil: no way out
	failed error        // why there is no router

	mu       sync.Mutex
	table    table
	conns    int
	nextPort int
	idle     *time.Timer
	listener *net.UnixListener
}

// Main is the helper's process.
func Main() int {
	debug.SetGCPercent(50)
	h, err := newHelper(os.Args[len(os.Args)-1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bryo:", err)
		return 1
	}
	return h.serve()
}

func newHelper(dir string) (*helper, error) {
	f := os.NewFile(3, "listener")
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	h := &helper{dir: dir, listener: l.(*net.UnixListener)}
	if h.config, err = load(dir); err != nil {
		return nil, err
	}
	h.table = newTable(h.config, dir)
	h.failed = h.connect()
	return h, nil
}

// connect makes the router and puts the way out and the name server behind it.
func (h *helper) connect() (err error) {
	if h.router, err = newRouter(h.dir); err != nil {
		return err
	}
	if err := dropCalls(); err != nil {
		return err
	}
	if h.router.uplink != nil {
		cfg := uplinkConfig(h.config)
		s, err := stack.Serve(cfg, takeFD(h.router.uplink))
		if err != nil {
			return err
		}
		h.uplink = s
		// Without its way out the network is not what was asked for: end, and let
		// the keeper begin again.
		go func() {
			<-s.Done()
			fmt.Fprintln(os.Stderr, "bryo: network stack:", s.Err())
			os.Exit(2)
		}()
	}
	resolvers := h.resolvers(dns.HostResolvers(""))
	if h.config.Internal || h.router.uplink == nil {
		resolvers = nil
	}
	server := dns.New(h, resolvers)
	for i := range h.router.datagram {
		if err := serveNames(server, h.router.datagram[i], h.router.stream[i]); err != nil {
			return err
		}
	}
	return nil
}

// resolvers are those that the user named for the container, else the host's.
func (h *helper) resolvers(host func() []netip.AddrPort) func(netip.Addr) []netip.AddrPort {
	return func(from netip.Addr) (list []netip.AddrPort) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if e := h.table.byAddress[from]; e != nil {
			for _, a := range e.request.DNS {
				list = append(list, netip.AddrPortFrom(a, 53))
			}
		}
		if list == nil {
			return host()
		}
		return list
	}
}

func serveNames(server *dns.Server, datagram, stream *os.File) error {
	defer datagram.Close()
	defer stream.Close()
	u, err := net.FilePacketConn(datagram)
	if err != nil {
		return err
	}
	t, err := net.FileListener(stream)
	if err != nil {
		return err
	}
	go server.Serve(u.(*net.UDPConn))
	go server.ServeTCP(t)
	return nil
}

// takeFD parts a descriptor from its file.
func takeFD(f *os.File) int {
	fd, _ := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	f.Close()
	_ = unix.SetNonblock(fd, true)
	return fd
}

// serve accepts connections until there is nobody left.
func (h *helper) serve() int {
	wait := linger
	if os.Getenv(envKept) != "" {
		wait = lingerKept
	}
	h.mu.Lock()
	h.idle = time.AfterFunc(wait, h.leave)
	h.mu.Unlock()
	for {
		c, err := h.listener.AcceptUnix()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bryo: accept:", err)
			return 2
		}
		h.join(c)
	}
}

func (h *helper) join(c *net.UnixConn) {
	h.mu.Lock()
	h.conns++
	h.idle.Stop()
	h.mu.Unlock()
	go h.converse(conn{c})
}

// leave ends the process when nobody is connected and nobody is about to be: the
// start lock keeps others from connecting meanwhile, and what they did before
// waits in the listener's queue.
func (h *helper) leave() {
	lock, err := unix.Open(filepath.Join(h.dir, "start.lock"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(lock)
		err = unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == unix.EWOULDBLOCK {
		h.idle.Reset(linger / 10)
		return
	}
	// Twice: what was accepted a moment ago may not be counted yet.
	for range 2 {
		if h.busy() {
			return
		}
		time.Sleep(linger / 50)
	}
	os.Remove(filepath.Join(h.dir, socketName))
	os.Exit(0)
}

func (h *helper) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns > 0 || h.pending()
}

// pending: somebody connected and was not accepted yet.
func (h *helper) pending() bool {
	raw, err := h.listener.SyscallConn()
	if err != nil {
		return false
	}
	found := false
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p, 0)
		found = n > 0
	})
	return found
}

// converse serves one connection; its endpoint ends with it.
func (h *helper) converse(c conn) {
	var mine *endpoint
	defer func() {
		c.Close()
		h.drop(mine)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.conns--; h.conns == 0 {
			h.idle.Reset(linger)
		}
	}()
	for {
		m, files, err := c.receive()
		if err != nil {
			return
		}
		answer := message{Done: true}
		switch {
		case m.Attach != nil:
			h.drop(mine)
			mine, answer = h.attach(*m.Attach, files)
		case m.Serve != nil:
			answer = h.open(mine, *m.Serve, files)
		case m.Stop != 0 && mine != nil:
			h.mu.Lock()
			mine.stop(m.Stop)
			h.mu.Unlock()
		case m.Names != nil:
			h.rename(mine, *m.Names)
		case m.Detach:
			h.drop(mine)
			mine = nil
		case m.Lookup != "":
			answer.Found = h.find(m.Lookup)
		case m.Reverse.IsValid():
			answer.Name, answer.Done = h.nameOf(m.Reverse)
		case m.Retire:
			answer = h.retire()
		}
		linux.CloseAll(files)
		if c.send(answer) != nil {
			return
		}
		if m.Retire && answer.Done {
			os.Exit(0)
		}
	}
}

// attach gives a container a place: addresses, a pair of links, names.
func (h *helper) attach(r Request, files []*os.File) (*endpoint, message) {
	if h.failed != nil {
		return nil, message{Failed: h.failed.Error()}
	}
	if len(files) != 1 {
		return nil, message{Failed: "attach: no network namespace"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// The last supervisor of this container has ended or is about to, and has not
	// hung up yet: its place is the new one's.
	if old := h.table.of(r.ID); old != nil {
		h.unplug(old)
	}
	e, err := h.table.add(r)
	if err != nil {
		return nil, message{Failed: err.Error()}
	}
	if err := h.plug(e, files[0]); err != nil {
		h.table.remove(e)
		return nil, message{Failed: fmt.Sprintf("attach container: %v", err)}
	}
	warning := h.router.warning
	if !h.config.on(OptionAnyAddress) {
		if err := h.guard(e); err != nil {
			warning = strings.TrimPrefix(warning+"; "+err.Error(), "; ")
		}
	}
	// Now that the port is isolated and guarded: the container may be running.
	if err := rtnl.SubmitOn(int(h.router.netlink.Fd()), rtnl.Up(e.port)); err != nil {
		h.unplug(e)
		return nil, message{Failed: fmt.Sprintf("attach container: %v", err)}
	}
	return e, message{Attached: h.table.describe(e, warning)}
}

// open brings what arrives at a socket of the host to the container. It comes in by
// the way that leads out, so that the answers find back.
func (h *helper) open(e *endpoint, in Inlet, files []*os.File) message {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e == nil || h.table.of(e.request.ID) != e || len(files) != 1 {
		return message{Failed: "publish port: not attached"}
	}
	if h.uplink == nil {
		return message{Failed: "publish port: this network carries no datagrams from outside"}
	}
	fd, err := unix.FcntlInt(files[0].Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return message{Failed: err.Error()}
	}
	var to []netip.Addr
	for _, p := range e.addresses {
		to = append(to, p.Addr())
	}
	stop, err := h.uplink.Datagrams(fd, to, in.Port)
	if err != nil {
		return message{Failed: err.Error()}
	}
	e.stop(in.ID)
	e.inlets[in.ID] = stop
	return message{Done: true}
}

// plug makes the links. A device of that name may be on its way out of the
// container still, when another helper was killed: the kernel takes its time, and
// the lock, which is held here, is let go of meanwhile. It may also be the
// container's own, for good.
func (h *helper) plug(e *endpoint, namespace *os.File) error {
	h.nextPort++
	e.port = firstPort + h.nextPort
	pair := rtnl.Pair(rtnl.Veth{
		Name: e.link(), Index: e.port, Master: bridgeIndex, MTU: h.config.MTU(),
		Namespace: int(namespace.Fd()), Peer: e.request.Link, MAC: e.mac,
	})
	netlink := int(h.router.netlink.Fd())
	err := rtnl.SubmitOn(netlink, pair)
	for end := time.Now().Add(5 * time.Second); errors.Is(err, unix.EEXIST) && time.Now().Before(end); {
		h.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		h.mu.Lock()
		if h.table.of(e.request.ID) != e {
			return errors.New("its place was taken by its next run")
		}
		err = rtnl.SubmitOn(netlink, pair)
	}
	if err != nil || !h.config.silent() {
		return err
	}
	if err = rtnl.SubmitOn(netlink, rtnl.Isolate(e.port)); err != nil {
		_ = rtnl.SubmitOn(netlink, rtnl.Delete(e.link())) // a container that runs would keep its end
	}
	return err
}

// drop takes an endpoint away. The links go with the container's namespace, in the
// kernel's own time; taking them away here too keeps that from being seen.
func (h *helper) drop(e *endpoint) {
	if e == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unplug(e)
}

// unplug is called with the lock held; of an endpoint that is gone it does nothing.
func (h *helper) unplug(e *endpoint) {
	if h.table.of(e.request.ID) != e {
		return
	}
	for id := range e.inlets {
		e.stop(id)
	}
	h.table.remove(e)
	_ = rtnl.SubmitOn(int(h.router.netlink.Fd()), rtnl.Delete(e.link()))
}

func (h *helper) rename(e *endpoint, r Request) {
	if e == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e.request.Name, e.request.Hostname, e.request.Aliases = r.Name, r.Hostname, r.Aliases
	e.request.Others, e.request.DNS = r.Others, r.DNS
	h.table.index()
}

// retire answers whether the network may be removed. A container that has just
// ended may not have hung up yet.
func (h *helper) retire() (answer message) {
	for end := time.Now().Add(retireTime); ; time.Sleep(5 * time.Millisecond) {
		if answer = h.tryRetire(); answer.Done || time.Now().After(end) {
			return answer
		}
	}
}

// retireTime is how long a supervisor may take to end after its container.
const retireTime = 2 * time.Second

func (h *helper) tryRetire() message {
	h.mu.Lock()
	defer h.mu.Unlock()
	if list := h.table.users(); list != "" {
		return message{Failed: "has active endpoints (" + list + ")"}
	}
	if h.conns > 1 {
		return message{Failed: "has active endpoints: a container starts"}
	}
	os.Remove(filepath.Join(h.dir, socketName))
	return message{Done: true}
}

// find looks a name up on this network.
func (h *helper) find(name string) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table.names[name]
}

// Addresses implements dns.Names: first this network, then the others that the
// container is on.
func (h *helper) Addresses(from netip.Addr, name string) ([]netip.Addr, bool) {
	list := h.find(name)
	for _, other := range h.others(from) {
		if len(list) > 0 {
			break
		}
		list = h.askOther(other, message{Lookup: name}).Found
	}
	if len(list) < 2 {
		return list, len(list) > 0
	}
	list = append([]netip.Addr(nil), list...)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, true
}

// askOther asks the helper of another network. One that is not there answers nothing.
func (h *helper) askOther(network string, question message) (answer message) {
	if CheckName(network) != nil {
		return answer
	}
	c, err := dial(filepath.Join(filepath.Dir(h.dir), network))
	if err != nil {
		return answer
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if answer, err = c.ask(question); err != nil {
		return message{}
	}
	return answer
}

// others are the further networks of the container that asks.
func (h *helper) others(from netip.Addr) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.table.byAddress[from]; e != nil {
		return e.request.Others
	}
	return nil
}

// Name implements dns.Names, over the same networks.
func (h *helper) Name(from, address netip.Addr) (name string, own bool) {
	if name, own = h.nameOf(address); own {
		return name, own
	}
	for _, other := range h.others(from) {
		if answer := h.askOther(other, message{Reverse: address}); answer.Done {
			return answer.Name, true
		}
	}
	return "", false
}

// nameOf is the name behind an address of this network; own: it is one of those.
func (h *helper) nameOf(address netip.Addr) (name string, own bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.table.byAddress[address]; e != nil {
		return e.request.Name + "." + h.config.Name, true
	}
	_, own = h.config.Find(address)
	return "", own
}
