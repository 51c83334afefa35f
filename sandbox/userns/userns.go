// Package userns starts a role of this binary inside a new user and mount
// namespace, with the full subordinate id ranges of the user when the host has
// them and the user's own uid alone otherwise.
//
// Start reading at Start (the parent) and Ready (the child); enter.c makes the
// namespace before the Go runtime starts. Which ids exist is the caller's
// business; network and other namespaces belong to package sandbox.
package userns

/*
// enter.c; the constructor needs no call.
*/
import "C"

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

const (
	envSocket = "_BRYO_USERNS"
	envRole   = "_BRYO_ROLE"
	envJoin   = "_BRYO_JOIN"
	socketFD  = 3
)

// Range maps Count ids from Inside the namespace to Outside (the caller's
// view), as a line of /proc/PID/uid_map does.
type Range struct {
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	Count   uint32 `json:"count"`
}

// Mapping is the id map of a user namespace. Single: one id only, setgroups is
// denied and chown to other ids fails with EINVAL.
type Mapping struct {
	UIDs   []Range `json:"uids"`
	GIDs   []Range `json:"gids"`
	Single bool    `json:"single"`
	// Direct: this process may write the maps itself (uid 0 of its namespace).
	Direct bool `json:"direct,omitempty"`
}

// Own maps root of the namespace to the caller's ids and nothing else.
func Own() Mapping {
	return Mapping{
		UIDs:   []Range{{0, uint32(os.Geteuid()), 1}},
		GIDs:   []Range{{0, uint32(os.Getegid()), 1}},
		Single: true,
	}
}

// Command describes the process to start.
type Command struct {
	Role string // read back with Role
	// Program is executed instead of this binary.
	Program *os.File
	// Host starts the process in the caller's own namespaces: no map is written,
	// and it does not call Ready.
	Host  bool
	Env   []string // the whole environment but for our own two variables
	Files []*os.File
	Stdin, Stdout,
	Stderr *os.File
	Mapping Mapping
	// Join is a user namespace to enter instead of making one: a descendant of the
	// caller's that the caller's uid made. Mapping is then what it has.
	Join *os.File
	// Dir of the new process; empty: the caller's.
	Dir string
	// Setsid detaches from the caller's terminal and process group.
	Setsid bool
	// DieWithParent kills the process when the calling thread ends: the caller
	// holds that thread with runtime.LockOSThread.
	DieWithParent bool
}

// FirstFile is the descriptor number of Command.Files[0] in the new process.
const FirstFile = socketFD + 1

// SetupError says which step of making the namespace the kernel or a helper
// program refused.
type SetupError struct {
	Step string // "unshare", "newuidmap", "newgidmap", "write uid_map", …
	Err  error
}

func (e *SetupError) Error() string { return "create user namespace: " + e.Step + ": " + e.Err.Error() }
func (e *SetupError) Unwrap() error { return e.Err }

// Start runs this binary with the given role inside the new namespaces and
// returns when its id maps are written. The caller waits for the process.
func Start(c Command) (*exec.Cmd, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &SetupError{"socketpair", err}
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "userns"), os.NewFile(uintptr(pair[1]), "userns")
	defer ours.Close()

	cmd := command(c, theirs)
	err = linux.StartUnstopped(cmd)
	theirs.Close()
	if err != nil {
		return nil, &SetupError{"start role " + c.Role, err}
	}
	if c.Host {
		return cmd, nil
	}
	if err := establish(ours, cmd.Process.Pid, c); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return cmd, nil
}

func command(c Command, socket *os.File) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"bryo", c.Role}
	cmd.Dir = c.Dir
	cmd.Env = append([]string{RoleEnv(c.Role)}, c.Env...)
	if !c.Host {
		cmd.Env = append(cmd.Env, envSocket+"="+strconv.Itoa(socketFD))
	}
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	cmd.ExtraFiles = append([]*os.File{socket}, c.Files...)
	if c.Join != nil {
		cmd.Env = append(cmd.Env, envJoin+"="+strconv.Itoa(FirstFile+len(c.Files)))
		cmd.ExtraFiles = append(cmd.ExtraFiles, c.Join)
	}
	if c.Program != nil {
		cmd.Path = "/proc/self/fd/" + strconv.Itoa(socketFD+len(cmd.ExtraFiles))
		cmd.ExtraFiles = append(cmd.ExtraFiles, c.Program)
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: c.Setsid}
	if c.DieWithParent {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	return cmd
}

func establish(socket *os.File, pid int, c Command) error {
	if _, err := begun(socket); err != nil {
		return err
	}
	if c.Join == nil {
		if err := writeMaps(pid, c.Mapping); err != nil {
			return err
		}
	}
	return letGo(socket)
}

// begun waits until the new process has its namespace, and returns the children of this
// one that write the maps already.
func begun(socket *os.File) (mappers [2]int, err error) {
	var answer struct{ Error, UIDs, GIDs int32 } // as in enter.c
	if err := binary.Read(socket, binary.NativeEndian, &answer); err != nil {
		return mappers, &SetupError{"start", errors.New("the new process ended early")}
	}
	if answer.Error != 0 {
		return mappers, &SetupError{"unshare", unix.Errno(answer.Error)}
	}
	return [2]int{int(answer.UIDs), int(answer.GIDs)}, nil
}

// letGo tells the new process that its maps are there.
func letGo(socket *os.File) error {
	_, err := socket.Write([]byte{0})
	return err
}

func writeMaps(pid int, m Mapping) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if m.Single {
		// Without privilege a gid map needs setgroups denied first
		// (user_namespaces(7), since Linux 3.19).
		if err := os.WriteFile(dir+"setgroups", []byte("deny"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return &SetupError{"write setgroups", errors.Unwrap(err)}
		}
	}
	if m.Single || m.Direct {
		for name, ranges := range map[string][]Range{"uid_map": m.UIDs, "gid_map": m.GIDs} {
			if err := os.WriteFile(dir+name, []byte(lines(ranges)), 0); err != nil {
				return &SetupError{"write " + name, errors.Unwrap(err)}
			}
		}
		return nil
	}
	return mapWithHelpers(pid, m)
}

// mapPrograms write the maps of others' ids.
var mapPrograms = [...]string{"newuidmap", "newgidmap"}

// mapWithHelpers runs them side by side: they are set-user-id programs and each takes
// more than a millisecond.
func mapWithHelpers(pid int, m Mapping) error {
	var beside errgroup.Group
	beside.Go(func() error { return runMapper(mapPrograms[1], pid, m.GIDs) })
	return cmp.Or(runMapper(mapPrograms[0], pid, m.UIDs), beside.Wait())
}

func runMapper(program string, pid int, ranges []Range) error {
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(lines(ranges))...)
	cmd := exec.Command(program, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := linux.StartUnstopped(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err == nil {
		return nil
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		err = errors.New(strings.ReplaceAll(text, "\n", "; "))
	}
	return &SetupError{program, err}
}

// Inside leads an id through a map; false: it has no place there.
func Inside(ranges []Range, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.Outside && id-r.Outside < r.Count {
			return r.Inside + id - r.Outside, true
		}
	}
	return 0, false
}

func lines(ranges []Range) string {
	var b strings.Builder
	for _, r := range ranges {
		b.WriteString(utoa(r.Inside) + " " + utoa(r.Outside) + " " + utoa(r.Count) + "\n")
	}
	return b.String()
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// Role returns the role that this process was started for, empty in a process
// that the user started.
func Role() string { return os.Getenv(envRole) }

// forget clears our variables from the environment.
func forget() {
	os.Unsetenv(envSocket)
	os.Unsetenv(envRole)
	os.Unsetenv(envJoin)
}

// RoleEnv is the entry of the environment that gives a process a role.
func RoleEnv(role string) string { return envRole + "=" + role }

// Ready waits until the parent wrote the id maps; from then on this process is
// root of its user namespace. It clears our variables from the environment.
func Ready() error {
	forget()
	f := os.NewFile(socketFD, "userns")
	defer f.Close()
	var b [1]byte
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return errors.New("enter user namespace: the starting process ended")
	}
	if uid := unix.Geteuid(); uid != 0 {
		return fmt.Errorf("enter user namespace: uid %d is not root of the namespace", uid)
	}
	return nil
}
