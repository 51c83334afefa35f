// Package images is the way from the CLI to the image role: the process inside
// a user namespace that alone opens the image store. It holds the requests and
// answers and the call itself; the role's side is package images/server.
//
// Start reading at Call.
package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"bryo/internal/images/program"
	"bryo/internal/trace"
	"bryo/rootfs/image"
	"bryo/sandbox/userns"
)

// Names under which the role's process starts.
const (
	Role = "image"
	// TreeRole is the part that needs no image store: this binary does it.
	TreeRole = "tree"
	// HostRole stays in the user's own namespaces: credential helpers talk to the
	// user's session.
	HostRole = "image-host"
)

// Operations.
const (
	OpPull            = "pull"
	OpPush            = "push"
	OpLoad            = "load"
	OpSave            = "save"
	OpImport          = "import"
	OpRemove          = "remove"
	OpTag             = "tag"
	OpPrune           = "prune"
	OpContainerRemove = "container-remove"
	OpVolumeRemove    = "volume-remove"
	OpVolumePrune     = "volume-prune"
	OpMapped          = "mapped"
	OpManifest        = "manifest"
	OpManifestPush    = "manifest-push"
	OpSearch          = "search"
	OpVerify          = "verify"
	OpUsage           = "usage"
	OpCopyOut         = "copy-out"
	OpCopyIn          = "copy-in"
	OpChanges         = "changes"
	OpExport          = "export"
	OpCommit          = "commit"
	OpLogin           = "login"
	OpLogout          = "logout"
)

// Request is what the role reads from its first descriptor.
type Request struct {
	Op     string          `json:"op"`
	Root   string          `json:"root"`
	Single bool            `json:"single"`
	Debug  bool            `json:"debug,omitempty"`
	Args   json.RawMessage `json:"args"`
}

// Reply is what it answers there.
type Reply struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Failure        `json:"error,omitempty"`
}

// Failure carries an error between the processes: its line and its kind.
type Failure struct {
	Message string `json:"message"`
	Kind    string `json:"kind,omitempty"`
}

func (f *Failure) Error() string { return f.Message }

// Kinds of failure that callers distinguish.
const (
	KindNotFound = "not-found" // no such image in the store
	KindInUse    = "in-use"
	KindDenied   = "denied"
	KindAbsent   = "absent" // not in the registry either
)

// IsKind tells whether err is a Failure of the kind.
func IsKind(err error, kind string) bool {
	var f *Failure
	return errors.As(err, &f) && f.Kind == kind
}

// Arguments and results of the operations.
type (
	PullArgs struct {
		Reference, Platform string
		AllTags, Quiet      bool
	}
	PullResult struct {
		Record  *image.Record `json:"record"`
		Updated bool          `json:"updated"`
	}

	PushArgs struct {
		Reference, Platform string
		AllTags, Quiet      bool
	}
	PushResult struct{ Digests []string }

	LoadArgs struct {
		Path, Platform string // empty path: standard input
		Quiet          bool
	}
	LoadResult struct{ Loaded []string }

	SaveArgs struct {
		References []string
		Platform   string
		Path       string // empty: standard output
	}

	ImportArgs struct {
		Path, Reference, Message, Platform string // path "-": standard input
		Changes                            []string
	}
	ImportResult struct{ ID string }

	RemoveArgs struct {
		References []string
		Force      bool
		NoPrune    bool
		Platforms  []string
	}
	// RemoveResult has docker's lines; an image that could not be removed is an
	// entry of Errors and does not keep the others.
	RemoveResult struct {
		Lines  []string
		Errors []Failure
	}

	TagArgs struct{ Source, Target string }

	PruneArgs struct {
		All     bool
		Filters map[string][]string
	}
	PruneResult struct {
		Lines     []string
		Reclaimed int64
	}

	ContainerRemoveArgs struct{ ID, Name string }
	VolumeRemoveArgs    struct {
		Names []string
		Force bool
	}
	VerifyArgs struct{}
	// VerifyResult lists the layers whose files are not what their digest says,
	// and those that another program stored, of which nobody can tell.
	VerifyResult struct {
		Altered []AlteredLayer
		Unknown []string
	}
	AlteredLayer struct {
		Layer, What string
		Images      []string
	}
	UsageArgs struct{ Containers, Volumes []string }
	// UsageResult has bytes by container id and by volume name.
	UsageResult     struct{ Containers, Volumes map[string]int64 }
	VolumePruneArgs struct {
		All     bool
		Filters []string
	}

	MappedArgs struct {
		Record     *image.Record
		UIDs, GIDs []userns.Range // container ids to store ids
	}
	MappedResult struct{ Layers []string }

	// LoginArgs: an empty server is docker.io.
	LoginArgs struct{ Server, Username, Password string }
	// LoginResult names the file that holds the password as it is, if one does.
	LoginResult  struct{ PlainFile string }
	LogoutArgs   struct{ Server string }
	LogoutResult struct{ Had bool }
)

// Host is what a call needs of the caller's surroundings.
type Host struct {
	Root    string
	Mapping userns.Mapping
	Debug   bool
	Env     []string
	Stdin   *os.File   // for load, import and what is copied into a container
	Stdout  *os.File   // for save, export and what is copied out of a container
	Files   []*os.File // TreeFile first
}

const (
	// TreeFile is the descriptor of a running container's root in the role, if the
	// arguments say that there is one.
	TreeFile = userns.FirstFile + 2
	// CallerFile is the calling program in a pull, which can make an image of it.
	CallerFile = userns.FirstFile + 2
)

// Call runs one operation in a new image role process and decodes its result
// into result. The role draws progress on the caller's stderr.
func Call(h Host, op string, args, result any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	request, err := json.Marshal(Request{Op: op, Root: h.Root, Single: h.Mapping.Single, Debug: h.Debug, Args: raw})
	if err != nil {
		return err
	}
	// The role dies with this thread: hold it until the answer is here.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	in, requestEnd, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start image role: %w", err)
	}
	defer requestEnd.Close()
	answer, out, err := os.Pipe()
	if err != nil {
		in.Close()
		return fmt.Errorf("start image role: %w", err)
	}
	defer answer.Close()
	cmd, err := start(h, op, append([]*os.File{in, out}, h.Files...))
	in.Close()
	out.Close()
	if err != nil {
		return err
	}
	go func() {
		_, _ = requestEnd.Write(request)
		requestEnd.Close()
	}()
	data, readErr := io.ReadAll(answer)
	waitErr := cmd.Wait()
	return decode(data, result, readErr, waitErr)
}

// start executes this binary for what it can do itself, and for the rest the
// program that it carries.
func start(h Host, op string, files []*os.File) (*exec.Cmd, error) {
	c := userns.Command{
		Role: Role, Env: append(trace.Environ(), h.Env...), Files: files, Mapping: h.Mapping,
		Stdin: h.Stdin, Stdout: h.Stdout, Stderr: os.Stderr, DieWithParent: true,
	}
	switch op {
	case OpContainerRemove, OpVolumeRemove, OpVolumePrune, OpUsage, OpCopyOut, OpCopyIn, OpChanges, OpExport:
		c.Role = TreeRole
		return userns.Start(c)
	case OpLogin, OpLogout:
		c.Role, c.Host = HostRole, true
	case OpPull:
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			return nil, fmt.Errorf("start image role: %w", err)
		}
		defer self.Close()
		c.Files = append(files, self)
	}
	binary, err := program.Open()
	if err != nil {
		return nil, err
	}
	defer binary.Close()
	c.Program = binary
	trace.Mark("image role copied")
	return userns.Start(c)
}

func decode(data []byte, result any, readErr, waitErr error) error {
	var reply Reply
	if readErr != nil {
		return fmt.Errorf("image role: %w", readErr)
	}
	if err := json.Unmarshal(data, &reply); err != nil {
		if waitErr != nil {
			return fmt.Errorf("image role: %w", waitErr)
		}
		return fmt.Errorf("image role: answer: %w", err)
	}
	if reply.Error != nil {
		return reply.Error
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply.Result, result)
}
