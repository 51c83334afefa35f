package bypass

import (
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// identity is who the caller is and where it stands.
type identity struct {
	root, cwd int
	uids      [4]int // real, effective, saved, of the file system
	gids      [4]int
	groups    []uint32
	umask     int
	effective uint64 // capabilities
}

// identity is read while the caller waits.
func (p *pending) identity() (who identity, err error) {
	dir := "/proc/" + strconv.Itoa(p.TID)
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return who, errGone
	}
	status := string(text)
	who.uids, who.gids = fourIDs(field(status, "Uid:")), fourIDs(field(status, "Gid:"))
	for _, word := range strings.Fields(field(status, "Groups:")) {
		id, _ := strconv.ParseUint(word, 10, 32)
		who.groups = append(who.groups, uint32(id))
	}
	umask, _ := strconv.ParseUint(field(status, "Umask:"), 8, 32)
	who.umask = int(umask)
	who.effective, _ = strconv.ParseUint(field(status, "CapEff:"), 16, 64)
	if who.root, err = unix.Open(dir+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return who, unix.EPERM
	}
	if who.cwd, err = unix.Open(dir+"/cwd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		unix.Close(who.root)
		return who, unix.EPERM
	}
	if err = p.valid(); err != nil {
		who.close()
	}
	return who, err
}

func (who identity) close() {
	unix.Close(who.root)
	unix.Close(who.cwd)
}

func fourIDs(text string) (ids [4]int) {
	for i, word := range strings.Fields(text) {
		if i < len(ids) {
			ids[i], _ = strconv.Atoi(word)
		}
	}
	return ids
}

// assume makes the calling thread the caller's equal, for good: raw calls change
// this thread alone, where the C library would change all.
func (who identity) assume() error {
	defer who.close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return unix.Fchdir(who.root) },
		func() error { return unix.Chroot(".") },
		func() error { return unix.Fchdir(who.cwd) },
		func() error { unix.Umask(who.umask); return nil },
		who.setGroups,
		func() error { return raw(unix.SYS_SETRESGID, who.gids[0], who.gids[1], who.gids[2]) },
		func() error { return raw(unix.SYS_SETRESUID, who.uids[0], who.uids[1], who.uids[2]) },
		who.dropCapabilities,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// setGroups: a namespace with one id forbids it, and so nobody inside has other
// groups than we.
func (who identity) setGroups() error {
	var first unsafe.Pointer
	if len(who.groups) > 0 {
		first = unsafe.Pointer(&who.groups[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(who.groups)), uintptr(first), 0)
	if errno != 0 && errno != unix.EPERM {
		return errno
	}
	return nil
}

// dropCapabilities: another user than root has lost them with setresuid.
func (who identity) dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		keep := uint32(who.effective >> (32 * i))
		data[i].Effective &= keep
		data[i].Permitted &= keep
		data[i].Inheritable = 0
	}
	return unix.Capset(&header, &data[0])
}

func raw(call uintptr, a, b, c int) error {
	if _, _, errno := unix.RawSyscall(call, uintptr(a), uintptr(b), uintptr(c)); errno != 0 {
		return errno
	}
	return nil
}
