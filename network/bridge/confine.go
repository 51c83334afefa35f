package bridge

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are the calls that a helper has no use for once its router is there,
// and that somebody who took it over would look for: other programs and processes,
// namespaces, mounts, keys, and the parts of the kernel with the longest record.
// A list of what is allowed would have to follow Go's runtime. keep.c has put
// no_new_privs and Landlock before.
var forbidden = []uintptr{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT,
	unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_FSCONFIG,
	unix.SYS_MOUNT_SETATTR, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERSONALITY, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
}

// architectures are the numbers of linux/audit.h for what bryo is built for.
var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// confine loads the filter for all threads, before one of them has its own. Calls of another architecture, or in
// x32's range, end the process: Go makes none.
func confine() error {
	arch, ok := architectures[runtime.GOARCH]
	if !ok {
		return nil
	}
	program := filter(arch)
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL:
		return nil // a kernel without filters
	case errno != 0:
		return fmt.Errorf("confine helper: seccomp: %w", errno)
	case thread != 0:
		return fmt.Errorf("confine helper: seccomp: thread %d has a filter of its own", thread)
	}
	return nil
}

// filter is the program of seccomp(2): struct seccomp_data has the number at 0 and
// the architecture at 4.
func filter(arch uint32) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		above = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
		x32   = 0x40000000 // __X32_SYSCALL_BIT
	)
	p := []unix.SockFilter{
		{Code: load, K: 4}, {Code: equal, Jt: 1, K: arch}, {Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: 0}, {Code: above, Jf: 1, K: x32}, {Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
	}
	for _, number := range forbidden {
		p = append(p, unix.SockFilter{Code: equal, Jf: 1, K: uint32(number)},
			unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	return append(p, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}
