package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// message is one packet on a helper's socket, in either direction. A connection
// is one container's place on the network: its end is the end of the endpoint.
//
//	supervisor                          helper
//	attach + network namespace  ─────►
//	                            ◄─────  attached, or failed
//	names, serve, stop, detach  ─────►
//	                            ◄─────  done
//	lookup, reverse (another    ─────►
//	helper)                     ◄─────  found, name
//	retire (network rm)         ─────►
//	                            ◄─────  done, or failed
type message struct {
	Attach *Request `json:"attach,omitempty"`
	Names  *Request `json:"names,omitempty"` // Name and Aliases have changed
	Detach bool     `json:"detach,omitempty"`
	Serve  *Inlet   `json:"serve,omitempty"` // and a bound UDP socket of the host
	Stop   int      `json:"stop,omitempty"`  // ID of an Inlet
	Lookup string   `json:"lookup,omitempty"`
	// Reverse asks for the name behind an address; done: it is one of the network's.
	Reverse netip.Addr `json:"reverse,omitzero"`
	Retire  bool       `json:"retire,omitempty"`

	Attached *Attached    `json:"attached,omitempty"`
	Found    []netip.Addr `json:"found,omitempty"`
	Name     string       `json:"name,omitempty"`
	Done     bool         `json:"done,omitempty"`
	Failed   string       `json:"failed,omitempty"`

	Router *handover `json:"router,omitempty"` // between router and helper, once
}

// Inlet is a published UDP port.
type Inlet struct {
	ID   int    `json:"id"`
	Port uint16 `json:"port"` // of the container
}

// Request asks for a place on a network.
type Request struct {
	ID       string   `json:"id"`   // of the container
	Name     string   `json:"name"` // of the container
	Hostname string   `json:"hostname,omitempty"`
	Aliases  []string `json:"aliases,omitempty"`
	// IP and IP6 are addresses that the user asked for; Last those of the last
	// run, taken again when nobody else has them.
	IP   netip.Addr   `json:"ip,omitzero"`
	IP6  netip.Addr   `json:"ip6,omitzero"`
	Last []netip.Addr `json:"last,omitempty"`
	MAC  string       `json:"mac,omitempty"`
	Link string       `json:"link"` // name of the device in the container
	// Brief: the container is removed when it ends, and its addresses with it.
	Brief bool `json:"brief,omitempty"`
	// DNS are the servers to ask for what is not a container's name; none: the
	// host's.
	DNS []netip.Addr `json:"dns,omitempty"`
	// Others are the container's other networks: their names are known to it too.
	Others []string `json:"others,omitempty"`
}

// Attached is the place: the device is in the container, without addresses.
type Attached struct {
	Addresses []netip.Prefix `json:"addresses"`
	Gateways  []netip.Addr   `json:"gateways"` // one for each address
	MAC       string         `json:"mac"`
	Link      string         `json:"link"`
	Internal  bool           `json:"internal,omitempty"` // the gateway leads nowhere
	Host      netip.Addr     `json:"host,omitzero"`      // stands for the host's loopback
	Warning   string         `json:"warning,omitempty"`
}

// conn carries messages over a SOCK_SEQPACKET socket.
type conn struct{ *net.UnixConn }

// Close of a conn that was never made does nothing.
func (c conn) Close() error {
	if c.UnixConn == nil {
		return nil
	}
	return c.UnixConn.Close()
}

const (
	maxMessage = 64 << 10
	maxFiles   = 253 // SCM_MAX_FD: a router has two for each subnet
	// patience with a helper that has to be started first.
	patience = 20 * time.Second
)

func (c conn) send(m message, files ...*os.File) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("message of %d bytes, at most %d", len(data), maxMessage)
	}
	_, _, err = c.WriteMsgUnix(data, linux.Rights(files), nil)
	return err
}

// receive waits for one message; the caller closes the files.
func (c conn) receive() (m message, files []*os.File, err error) {
	data, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, r, _, _, err := c.ReadMsgUnix(data, rights)
	if err != nil {
		return m, nil, err
	}
	files = linux.Received(rights[:r])
	if n == 0 {
		return m, files, io.EOF
	}
	if err := json.Unmarshal(data[:n], &m); err != nil {
		linux.CloseAll(files)
		return m, nil, err
	}
	return m, files, nil
}

// ask sends one message and returns the answer to it.
func (c conn) ask(m message, files ...*os.File) (message, error) {
	if err := c.send(m, files...); err != nil {
		return m, err
	}
	answer, extra, err := c.receive()
	linux.CloseAll(extra)
	if err == nil && answer.Failed != "" {
		err = errors.New(answer.Failed)
	}
	return answer, err
}

const socketName = "helper.sock"

// through is the way to a file of a folder that fits into a socket address.
func through(dir string, do func(path string) error) error {
	d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(d)
	return do("/proc/self/fd/" + strconv.Itoa(d) + "/" + socketName)
}

// dial connects to the helper of the network in dir.
func dial(dir string) (c conn, err error) {
	err = through(dir, func(path string) error {
		c.UnixConn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
	return c, err
}

// absent: no helper listens there.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// listen makes the socket of a helper; who calls holds the start lock.
func listen(dir string) (f *os.File, err error) {
	os.Remove(filepath.Join(dir, socketName)) // of a helper that was killed
	err = through(dir, func(path string) error {
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			return err
		}
		defer l.Close()
		l.SetUnlinkOnClose(false)
		f, err = l.File()
		return err
	})
	return f, err
}
