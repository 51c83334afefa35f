// Package confine makes and loads the seccomp filters of those parts of bryo that
// read what hostile containers send: the network stack's thread and the helper of a
// network. Start with Begin; which calls are allowed stands with those parts.
//
// What a filter refuses fails with EPERM: the caller's error handling deals with
// that, and no bug of a rare path ends the whole process. The filters of containers
// are not here, nor is Landlock: a thread asks for it itself, a helper before the
// runtime of Go starts threads (network/bridge/keep.c).
package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Filter is a program of seccomp(2) in the making.
type Filter []unix.SockFilter

// What a filter says of a call.
const (
	Allow  uint32 = unix.SECCOMP_RET_ALLOW
	Refuse uint32 = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
)

const (
	load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	above = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	ret   = unix.BPF_RET | unix.BPF_K

	// Offsets in struct seccomp_data.
	number   = 0
	arch     = 4
	argument = 16 // the first one's low half

	x32 = 0x40000000 // __X32_SYSCALL_BIT; no call of arm64 is that high
)

// Begin refuses calls of other architectures and of x32: Go makes none, and their
// numbers mean something else.
func Begin() Filter {
	return Filter{
		{Code: load, K: arch}, {Code: equal, K: auditArch, Jt: 1}, {Code: ret, K: Refuse},
		{Code: load, K: number}, {Code: above, K: x32, Jf: 1}, {Code: ret, K: Refuse},
	}
}

// Sockets allows socket(2) of these address families.
func (f Filter) Sockets(families ...uint32) Filter {
	f = append(f, unix.SockFilter{Code: equal, K: unix.SYS_SOCKET, Jf: uint8(2*len(families) + 1)}, unix.SockFilter{Code: load, K: argument})
	for _, family := range families {
		f = append(f, unix.SockFilter{Code: equal, K: family, Jf: 1}, unix.SockFilter{Code: ret, K: Allow})
	}
	return append(f, unix.SockFilter{Code: load, K: number})
}

// End judges the calls of a list, at most 254, and all others.
func (f Filter) End(calls []uint32, listed, others uint32) Filter {
	for i, n := range calls {
		f = append(f, unix.SockFilter{Code: equal, K: n, Jt: uint8(len(calls) - i)})
	}
	return append(f, unix.SockFilter{Code: ret, K: others}, unix.SockFilter{Code: ret, K: listed})
}

// Load puts the calling thread under the filter; with SECCOMP_FILTER_FLAG_TSYNC, all
// threads, unless one has a filter of its own. A kernel without filters is no error.
// The caller has no_new_privs.
func (f Filter) Load(flags uintptr) error {
	p := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&p)))
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL:
		return nil
	case errno != 0:
		return fmt.Errorf("seccomp: %w", errno)
	case thread != 0:
		return fmt.Errorf("seccomp: thread %d has a filter of its own", thread)
	}
	return nil
}
