// Package supervisor is the process that each container has: root of the
// container's user namespace, with a private mount namespace, in the host's
// network namespace. It mounts the root, starts the sandbox, serves stdio and
// records how the container ended.
//
// Start reading at Main, then life.go for one container's life and serve.go for
// what other bryo commands ask of it; protocol.go has the messages. What it
// leaves out: choosing an image or an id map (package engine).
package supervisor

import (
	"encoding/json"
	"time"

	"github.com/mailru/easyjson/jlexer"
	"github.com/mailru/easyjson/jwriter"
	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/sandbox"
	"bryo/sandbox/cgroup"
)

// Role is the name under which the supervisor's process starts.
const Role = "supervisor"

// Message is one packet of a control socket, in either direction. The socket is
// SOCK_SEQPACKET: a packet is a message, files travel beside it. End of file
// means that the other side is gone.
//
//	CLI                              supervisor
//	Start             ─────────────►  mounts, starts      (inherited socket)
//	Attach, Exec      + 3 files ───►                      (control.sock)
//	Stop, Pause, Wait …  ──────────►
//	                  ◄─────────────  Started, or Failed
//	Signal, Resize, Detach  ───────►
//	                  ◄─────────────  Exited, Done, or Failed
//
//easyjson:json
type Message struct {
	Start  *Start  `json:"start,omitempty"`
	Attach *Attach `json:"attach,omitempty"`
	Exec   *Exec   `json:"exec,omitempty"`
	Stop   *Stop   `json:"stop,omitempty"`
	Signal int     `json:"signal,omitempty"`
	Resize *Size   `json:"resize,omitempty"`
	Detach bool    `json:"detach,omitempty"`
	Pause  bool    `json:"pause,omitempty"`
	Resume bool    `json:"resume,omitempty"`
	Wait   string  `json:"wait,omitempty"` // not-running, next-exit, removed, healthy
	Reload bool    `json:"reload,omitempty"`
	Tree   string  `json:"tree,omitempty"` // inside or image; the answer carries its root
	Hold   bool    `json:"hold,omitempty"` // paused for as long as the connection lasts

	Started *Started `json:"started,omitempty"`
	Exited  *Exited  `json:"exited,omitempty"`
	Done    bool     `json:"done,omitempty"`
	Held    bool     `json:"held,omitempty"` // with Done: it was not paused before
	Failed  *Failed  `json:"failed,omitempty"`
}

// Start names the container to run.
type Start struct {
	Root string `json:"root"`
	ID   string `json:"id"`
	Size *Size  `json:"size,omitempty"` // of the user's terminal, with -t
	// Terminal is how the user's terminal was before the command made it raw: it is
	// put back from here when the command is killed.
	Terminal *Terminal `json:"terminal,omitempty"`
	// Foreground: the container ends with the control socket. The supervisor's
	// own stdio is the user's.
	Foreground bool `json:"foreground,omitempty"`
	// Output: with Foreground, what the user wants to see.
	Output Attach `json:"output,omitzero"`
	// Cgroup is how the container gets a control group of its own.
	Cgroup cgroup.Way `json:"cgroup,omitzero"`
	// Rest is how long nothing may have happened before the supervisor rests; 0: the
	// default, negative: it never does.
	Rest time.Duration `json:"rest,omitempty"`
}

// Attach joins a client's files to the container: descriptor 0, if it is there,
// is read and passed on; 1 and 2 are written to.
type Attach struct {
	Stdin  bool  `json:"stdin,omitempty"`
	Stdout bool  `json:"stdout,omitempty"`
	Stderr bool  `json:"stderr,omitempty"`
	Size   *Size `json:"size,omitempty"`
	// Terminal is that of Start, for a command that joins later.
	Terminal *Terminal `json:"terminal,omitempty"`
}

// Exec is another process in a running container.
type Exec struct {
	Args       []string  `json:"args"`
	Env        []string  `json:"env,omitempty"`
	WorkDir    string    `json:"workdir,omitempty"`
	User       string    `json:"user,omitempty"`
	Tty        bool      `json:"tty,omitempty"`
	Stdin      bool      `json:"stdin,omitempty"`
	Privileged bool      `json:"privileged,omitempty"`
	Detach     bool      `json:"detach,omitempty"`
	Size       *Size     `json:"size,omitempty"`
	Terminal   *Terminal `json:"terminal,omitempty"`
}

// Stop asks the container to end: Signal first, SIGKILL after Timeout seconds;
// negative: never. It is not restarted.
type Stop struct {
	Signal  int `json:"signal"`
	Timeout int `json:"timeout"`
}

// Terminal is how a terminal is set.
type Terminal unix.Termios

// MarshalEasyJSON writes what encoding/json does: the generated code has another form for
// an array of bytes, which a supervisor of an older version would not read.
func (t *Terminal) MarshalEasyJSON(w *jwriter.Writer) { w.Raw(json.Marshal((*unix.Termios)(t))) }

// UnmarshalEasyJSON reads it.
func (t *Terminal) UnmarshalEasyJSON(l *jlexer.Lexer) {
	if err := json.Unmarshal(l.Raw(), (*unix.Termios)(t)); err != nil {
		l.AddError(err)
	}
}

// Size of a terminal in characters.
type Size = sandbox.Size

// Started: the program was executed.
type Started struct {
	PID     int    `json:"pid"`               // on the host
	Warning string `json:"warning,omitempty"` // one line for the user
}

// Exited: the program ended; 128+n for a signal.
type Exited struct {
	Code int    `json:"code"`
	Lost string `json:"lost,omitempty"` // why not all of its output was written
}

// Failed: the program did not start, or the request was refused. Code is
// docker's: 125 bryo, 126 cannot execute, 127 not found.
type Failed struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
}

func (f *Failed) Error() string { return f.Message }

// Conditions of Wait.
const (
	WaitNotRunning = "not-running"
	WaitNextExit   = "next-exit"
	WaitRemoved    = "removed"
	WaitHealthy    = "healthy"
)

// Trees that a client may ask for.
const (
	TreeInside = "inside" // as the container sees it, volumes and mounts included
	TreeImage  = "image"  // image and changes alone
)

// SocketPath is where a container's supervisor listens.
func SocketPath(containers state.Dir, id string) string { return containers.Path(id) + "/control.sock" }
