package hostinfo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel answers what cannot be read from a file. The running one tries things
// for real and leaves nothing behind.
type Kernel interface {
	Release() string
	Executable() string // path of this program, for cures that name it
	LookPath(program string) (string, error)
	Run(ctx context.Context, program string, args ...string) (string, error)
	// PrivilegeProblem says why a set-user-id program gives no privilege; "" if it does.
	PrivilegeProblem(path string) string
	// TryUserNS makes a user namespace with a private mount tree inside.
	TryUserNS() error
	// TryInside runs a probe of this package inside such a namespace.
	TryInside(ctx context.Context, probe string) error
	Seccomp() (filter, notify bool)
	LandlockABI() int
	KeyringError() error
	OpenError(path string, flags int) error
	// Mount flags of the file system that holds path (ST_*), and whether the
	// user may write there.
	FileSystem(path string) (flags int64, writable bool, err error)
	Owner(path string) (uid int, mode os.FileMode, err error)
}

type running struct{}

func (running) Release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func (running) Executable() string {
	path, err := os.Executable()
	if err != nil {
		return "/usr/local/bin/bryo"
	}
	return path
}

func (running) LookPath(program string) (string, error) { return exec.LookPath(program) }

func (running) Run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	return out.String(), err
}

func (running) PrivilegeProblem(path string) string {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "cannot be found: " + cause(err).Error()
	}
	var st unix.Stat_t
	if err := unix.Stat(resolved, &st); err != nil {
		return "cannot be read: " + err.Error()
	}
	setuid := st.Mode&unix.S_ISUID != 0 && st.Uid == 0
	_, err = unix.Getxattr(resolved, "security.capability", make([]byte, 64))
	if !setuid && err != nil {
		return "has neither the set-user-id bit nor a file capability"
	}
	var fs unix.Statfs_t
	if unix.Statfs(resolved, &fs) == nil && fs.Flags&unix.ST_NOSUID != 0 {
		return "lies on a file system mounted nosuid"
	}
	return ""
}

// TryUserNS starts a program that does not exist: the child makes the
// namespaces before execve fails with ENOENT, so no code of ours runs in it.
// Go's child unshares the mount namespace after the id maps are written and
// makes it private, which takes CAP_SYS_ADMIN inside the new user namespace.
func (running) TryUserNS() error {
	attr := &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWUSER,
		Unshareflags: unix.CLONE_NEWNS,
		UidMappings:  []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings:  []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	const nowhere = "/proc/self/no-such-program"
	_, _, err := syscall.StartProcess(nowhere, []string{nowhere}, &syscall.ProcAttr{Sys: attr})
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

func (running) TryInside(ctx context.Context, probe string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{"bryo", ProbeRole, probe}
	cmd.Env = []string{envRole + "=" + ProbeRole}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	if text := strings.TrimSpace(complaint.String()); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

func (running) Seccomp() (filter, notify bool) {
	// SECCOMP_GET_ACTION_AVAIL (Linux 4.14), SECCOMP_GET_NOTIF_SIZES (5.0).
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	var sizes [3]uint16
	_, _, errnoNotify := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	return errno == 0, errnoNotify == 0
}

// LandlockABI is the version of Landlock in the kernel, 0 without it.
func (running) LandlockABI() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

func (running) KeyringError() error {
	_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	if errors.Is(err, unix.ENOKEY) {
		return nil // none joined yet, which is fine
	}
	return err
}

func (running) OpenError(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func (running) FileSystem(path string) (int64, bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, false, err
	}
	return fs.Flags, unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) == nil, nil
}

func (running) Owner(path string) (int, os.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, cause(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, fmt.Errorf("stat %s: no owner", path)
	}
	return int(st.Uid), info.Mode(), nil
}
