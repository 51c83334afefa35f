package bridge

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/network/confine"
)

// forbidden are the calls that a helper has no use for once its router is there,
// and that somebody who took it over would look for: other programs and processes,
// namespaces, mounts, keys, and the parts of the kernel with the longest record.
// A list of what is allowed would have to follow Go's runtime. keep.c has put
// no_new_privs and Landlock before.
var forbidden = []uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT,
	unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_FSCONFIG,
	unix.SYS_MOUNT_SETATTR, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERSONALITY, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
}

// dropCalls loads the filter for all threads, before one of them has its own.
func dropCalls() error {
	if err := confine.Begin().End(forbidden, confine.Refuse, confine.Allow).Load(unix.SECCOMP_FILTER_FLAG_TSYNC); err != nil {
		return fmt.Errorf("confine helper: %w", err)
	}
	return nil
}
