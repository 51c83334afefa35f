package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Action is what a filter answers: the upper half of a SECCOMP_RET_* value.
type Action uint32

// The actions, in the kernel's words. KillThread is SCMP_ACT_KILL as well.
const (
	KillThread  Action = unix.SECCOMP_RET_KILL_THREAD
	KillProcess Action = unix.SECCOMP_RET_KILL_PROCESS
	Trap        Action = unix.SECCOMP_RET_TRAP
	Errno       Action = unix.SECCOMP_RET_ERRNO
	Notify      Action = unix.SECCOMP_RET_USER_NOTIF
	Trace       Action = unix.SECCOMP_RET_TRACE
	Log         Action = unix.SECCOMP_RET_LOG
	Allow       Action = unix.SECCOMP_RET_ALLOW
)

// Op compares a syscall argument with a value, unsigned and 64 bits wide.
type Op uint8

// The operators. MaskedEqual holds when argument & Value == ValueTwo & Value.
const (
	EqualTo Op = iota + 1
	NotEqual
	LessThan
	LessEqual
	GreaterThan
	GreaterEqual
	MaskedEqual

	// maskedNotEqual is the compiler's own, for masks in the low word.
	maskedNotEqual
)

// Arg is a condition on one argument of a syscall.
type Arg struct {
	Index    uint8 // 0 to 5
	Op       Op
	Value    uint64
	ValueTwo uint64 // MaskedEqual only
}

// Kernel is a kernel version; the zero value stands for "any".
type Kernel struct{ Major, Minor uint16 }

func (k Kernel) atLeast(min Kernel) bool {
	return k.Major > min.Major || k.Major == min.Major && k.Minor >= min.Minor
}

// Condition switches a rule on or off for a whole container. As part of
// Includes all of it must hold; as part of Excludes any of it is enough.
type Condition struct {
	Caps      []string
	Arches    []string // amd64, x86, x32, arm64, arm; compared with the architecture of the image
	MinKernel Kernel
}

// Rule gives syscalls an action. All Args must match; without any it matches
// always. Errno is the value for Errno (0 answers success) and Trace.
type Rule struct {
	Names    []string
	Action   Action
	Errno    uint16
	Args     []Arg
	Includes Condition
	Excludes Condition
}

// ArchEntry names the further architectures of one main architecture.
type ArchEntry struct {
	Arch      string
	SubArches []string
}

// Profile is a seccomp policy in the terms of Docker's JSON.
//
// Which rule decides a call: by default as libseccomp (and so Docker, Podman
// and runc) has it: a rule without arguments beats all others of its syscall,
// and two conditions on the same argument of one rule are alternatives. With
// FirstMatch the first rule in the list that matches decides.
type Profile struct {
	DefaultAction Action
	DefaultErrno  uint16
	Architectures []string    // SCMP_ARCH_*
	ArchMap       []ArchEntry // used instead of Architectures
	Rules         []Rule
	Flags         uint32 // SECCOMP_FILTER_FLAG_* for the loader
	FirstMatch    bool
}

// Validate checks what the compiler relies on.
func (p *Profile) Validate() error {
	if err := checkVerdict(p.DefaultAction, p.DefaultErrno); err != nil {
		return fmt.Errorf("seccomp profile: defaultAction: %w", err)
	}
	if len(p.Architectures) > 0 && len(p.ArchMap) > 0 {
		return fmt.Errorf("seccomp profile: architectures and archMap exclude each other")
	}
	for i := range p.Rules {
		if err := p.Rules[i].check(); err != nil {
			return fmt.Errorf("seccomp profile: syscalls[%d]: %w", i, err)
		}
	}
	return nil
}

func (r *Rule) check() error {
	if len(r.Names) == 0 || slices.Contains(r.Names, "") {
		return fmt.Errorf("a syscall name is missing")
	}
	if len(r.Args) > maxArgs {
		return fmt.Errorf("%d argument conditions: at most %d", len(r.Args), maxArgs)
	}
	for _, a := range r.Args {
		if a.Index > 5 {
			return fmt.Errorf("argument index %d: a syscall has arguments 0 to 5", a.Index)
		}
		if a.Op < EqualTo || a.Op > MaskedEqual {
			return fmt.Errorf("unknown operator %d", a.Op)
		}
	}
	return checkVerdict(r.Action, r.Errno)
}

// maxArgs leaves room for two conditions per argument. The compiler's short
// jumps hold up to about forty.
const maxArgs = 12

// maxErrno is MAX_ERRNO of the kernel, which caps what a filter asks for.
const maxErrno = 4095

func checkVerdict(a Action, errno uint16) error {
	switch a {
	case KillThread, KillProcess, Trap, Log, Allow, Notify:
		if errno != 0 {
			return fmt.Errorf("errnoRet %d: the action takes none", errno)
		}
	case Errno:
		if errno > maxErrno {
			return fmt.Errorf("errnoRet %d: the highest errno is %d", errno, maxErrno)
		}
	case Trace:
	default:
		return fmt.Errorf("unknown action %#x", uint32(a))
	}
	return nil
}

// enosys is the answer of a kernel that lacks a call.
const enosys = uint32(Errno) | uint32(unix.ENOSYS)

// verdict joins an action and its errno to a SECCOMP_RET_* value.
func verdict(a Action, errno uint16) uint32 { return uint32(a) | uint32(errno) }

// lets reports whether a verdict lets the call happen, perhaps under watch.
func lets(v uint32) bool {
	switch Action(v & unix.SECCOMP_RET_ACTION_FULL) {
	case Allow, Log, Trace, Notify:
		return true
	}
	return false
}
