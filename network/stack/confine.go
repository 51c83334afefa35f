package stack

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"bryo/network/confine"
)

// dropRights takes the rights of the calling thread away that the stack does not
// need: all capabilities, all of the file system but for reading where resolver
// configurations are, and all system calls but those below. The thread is locked
// and ends with the stack; the process's other threads, which start the container
// and its exec'd processes, keep theirs, and so do those processes.
//
// It is a wall against mistakes of the stack's own code, which parses what a
// hostile container sends. Threads share memory: who can run code of his own in
// this thread can reach the others in the end.
func dropRights() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine network stack: no_new_privs: %w", err)
	}
	if err := readOnlyFiles(); err != nil {
		return fmt.Errorf("confine network stack: landlock: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("confine network stack: drop capabilities: %w", err)
	}
	if err := callFilter().Load(0); err != nil {
		return fmt.Errorf("confine network stack: %w", err)
	}
	return nil
}

// resolverPlaces are where resolv.conf is, and where it may lead to.
var resolverPlaces = []string{"/etc", "/run", "/var/run", "/usr/lib/systemd"}

// readOnlyFiles denies the thread all files but for reading those. A kernel
// without Landlock, or one that has it switched off, leaves the other walls.
func readOnlyFiles() error {
	// All rights of the first version of its interface (linux/landlock.h).
	attr := unix.LandlockRulesetAttr{Handled_access_fs: 1<<13 - 1}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), 8, 0)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP || errno == unix.EINVAL {
		return nil
	}
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	for _, place := range resolverPlaces {
		allowReading(int(fd), place)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// allowReading lets files below a folder be read; one that is not there needs no
// rule.
func allowReading(ruleset int, place string) {
	dir, err := os.OpenFile(place, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer dir.Close()
	rule := unix.LandlockPathBeneathAttr{
		Allowed_access: unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR, Parent_fd: int32(dir.Fd()),
	}
	_, _, _ = unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	runtime.KeepAlive(&rule)
}

// allowedCalls: what the loop does itself, and what Go's runtime does on any
// thread. socket(2) is judged by its address family.
var allowedCalls = []uint32{
	// The loop: the device, host sockets, timers.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL,
	unix.SYS_CONNECT, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN,
	unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_CLOSE, unix.SYS_IOCTL, unix.SYS_FCNTL,
	// resolv.conf.
	unix.SYS_OPENAT, unix.SYS_NEWFSTATAT, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_LSEEK,
	// Memory: the loop's chunks and the collector's.
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MPROTECT, unix.SYS_MINCORE,
	// Go's scheduler.
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_TGKILL, unix.SYS_GETRANDOM, unix.SYS_RESTART_SYSCALL,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

func callFilter() confine.Filter {
	return confine.Begin().Sockets(unix.AF_INET, unix.AF_INET6).End(slices.Concat(allowedCalls, ownCalls), confine.Allow, confine.Refuse)
}
