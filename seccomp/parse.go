package seccomp

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxProfile bounds the size of a profile in bytes. Docker's default is 18 kB.
const MaxProfile = 1 << 20

// Parse reads a profile in Docker's JSON format, or the seccomp object of an
// OCI runtime configuration, which is a subset. Errors are one line and name
// the place. Refused rather than ignored: unknown and duplicate keys, unknown
// actions, operators and architectures, and what needs a seccomp agent
// (listenerPath, SCMP_ACT_NOTIFY).
//
// One key is ours: "firstMatch", see Profile.
func Parse(text []byte) (*Profile, error) {
	if len(text) > MaxProfile {
		return nil, fmt.Errorf("seccomp profile: %d bytes, the limit is %d", len(text), MaxProfile)
	}
	if err := checkShape(text); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	var doc profileJSON
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", plain(err))
	}
	return doc.profile()
}

// profileJSON is the document. Pointers tell "absent" from zero.
type profileJSON struct {
	DefaultAction    *string     `json:"defaultAction"`
	DefaultErrno     string      `json:"defaultErrno"` // Podman's spelling: a name
	DefaultErrnoRet  *uint       `json:"defaultErrnoRet"`
	Architectures    []string    `json:"architectures"`
	ArchMap          []archJSON  `json:"archMap"`
	Flags            []string    `json:"flags"`
	ListenerPath     string      `json:"listenerPath"`
	ListenerMetadata string      `json:"listenerMetadata"`
	Syscalls         []*ruleJSON `json:"syscalls"`
	FirstMatch       bool        `json:"firstMatch"`
}

type archJSON struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

type ruleJSON struct {
	Names    []string       `json:"names"`
	Name     string         `json:"name"`
	Action   *string        `json:"action"`
	Errno    string         `json:"errno"`
	ErrnoRet *uint          `json:"errnoRet"`
	Args     []*argJSON     `json:"args"`
	Comment  string         `json:"comment"`
	Includes *conditionJSON `json:"includes"`
	Excludes *conditionJSON `json:"excludes"`
}

type argJSON struct {
	Index    *uint   `json:"index"`
	Value    uint64  `json:"value"`
	ValueTwo uint64  `json:"valueTwo"`
	Op       *string `json:"op"`
}

type conditionJSON struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

func (doc *profileJSON) profile() (*Profile, error) {
	if doc.ListenerPath != "" || doc.ListenerMetadata != "" {
		return nil, fmt.Errorf("seccomp profile: listenerPath: bryo hands no filter to a seccomp agent")
	}
	if doc.DefaultAction == nil || *doc.DefaultAction == "" {
		return nil, fmt.Errorf("seccomp profile: defaultAction is missing")
	}
	p := &Profile{Architectures: doc.Architectures, FirstMatch: doc.FirstMatch}
	var err error
	if p.DefaultAction, p.DefaultErrno, err = parseVerdict(*doc.DefaultAction, doc.DefaultErrno, doc.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("seccomp profile: defaultAction: %w", err)
	}
	if err := doc.arches(p); err != nil {
		return nil, err
	}
	for _, name := range doc.Flags {
		flag, err := parseFlag(name)
		if err != nil {
			return nil, err
		}
		p.Flags |= flag
	}
	for i, r := range doc.Syscalls {
		rule, err := r.rule()
		if err != nil {
			return nil, fmt.Errorf("seccomp profile: syscalls[%d]: %w", i, err)
		}
		p.Rules = append(p.Rules, rule)
	}
	return p, p.Validate()
}

func (doc *profileJSON) arches(p *Profile) error {
	for _, a := range doc.ArchMap {
		p.ArchMap = append(p.ArchMap, ArchEntry{Arch: a.Architecture, SubArches: a.SubArchitectures})
	}
	return p.checkArches()
}

// rule reads one element of syscalls.
func (r *ruleJSON) rule() (Rule, error) {
	if r == nil {
		return Rule{}, fmt.Errorf("null")
	}
	if r.Name != "" {
		if len(r.Names) > 0 {
			return Rule{}, fmt.Errorf("name and names exclude each other")
		}
		r.Names = []string{r.Name}
	}
	if r.Action == nil {
		return Rule{}, fmt.Errorf("action is missing")
	}
	action, errno, err := parseVerdict(*r.Action, r.Errno, r.ErrnoRet)
	if err != nil {
		return Rule{}, err
	}
	out := Rule{Names: r.Names, Action: action, Errno: errno}
	for i, a := range r.Args {
		arg, err := a.arg()
		if err != nil {
			return Rule{}, fmt.Errorf("args[%d]: %w", i, err)
		}
		out.Args = append(out.Args, arg)
	}
	if out.Includes, err = r.Includes.condition(); err != nil {
		return Rule{}, fmt.Errorf("includes: %w", err)
	}
	if out.Excludes, err = r.Excludes.condition(); err != nil {
		return Rule{}, fmt.Errorf("excludes: %w", err)
	}
	return out, nil
}

func (a *argJSON) arg() (Arg, error) {
	if a == nil || a.Index == nil || a.Op == nil {
		return Arg{}, fmt.Errorf("want index, value and op")
	}
	if *a.Index > 5 {
		return Arg{}, fmt.Errorf("index %d: a syscall has arguments 0 to 5", *a.Index)
	}
	op, err := parseOp(*a.Op)
	return Arg{Index: uint8(*a.Index), Op: op, Value: a.Value, ValueTwo: a.ValueTwo}, err
}

func (c *conditionJSON) condition() (Condition, error) {
	if c == nil {
		return Condition{}, nil
	}
	k, err := parseMinKernel(c.MinKernel)
	return Condition{Caps: c.Caps, Arches: c.Arches, MinKernel: k}, err
}

// parseMinKernel takes "MAJOR.MINOR" and "", as Docker does.
func parseMinKernel(s string) (Kernel, error) {
	if s == "" {
		return Kernel{}, nil
	}
	major, minor, _ := strings.Cut(s, ".")
	a, errA := strconv.ParseUint(major, 10, 8)
	b, errB := strconv.ParseUint(minor, 10, 8)
	if errA != nil || errB != nil || a == 0 && b == 0 {
		return Kernel{}, fmt.Errorf("minKernel %q: want MAJOR.MINOR", s)
	}
	return Kernel{Major: uint16(a), Minor: uint16(b)}, nil
}

// parseVerdict reads an action and its errno, which is EPERM where an action
// that has one comes without.
func parseVerdict(name, errnoName string, errno *uint) (Action, uint16, error) {
	action, err := parseAction(name)
	if err != nil {
		return 0, 0, err
	}
	if errnoName != "" {
		if errno, err = parseErrno(errnoName, errno); err != nil {
			return 0, 0, err
		}
	}
	takes := action == Errno || action == Trace
	switch {
	case errno == nil && takes:
		return action, eperm, nil
	case errno == nil:
		return action, 0, nil
	case !takes:
		return 0, 0, fmt.Errorf("errnoRet %d: %s takes none", *errno, name)
	case *errno > maxErrno:
		return 0, 0, fmt.Errorf("errnoRet %d: the highest errno is %d", *errno, maxErrno)
	}
	return action, uint16(*errno), nil
}

// parseErrno finds an errno by name. A number beside it must agree.
func parseErrno(name string, number *uint) (*uint, error) {
	for n := uint(1); n <= maxErrno; n++ {
		if unix.ErrnoName(unix.Errno(n)) != name {
			continue
		}
		if number != nil && *number != n {
			return nil, fmt.Errorf("errno %s is %d, but errnoRet is %d", name, n, *number)
		}
		return &n, nil
	}
	return nil, fmt.Errorf("unknown errno %q", clip(name))
}

func parseAction(name string) (Action, error) {
	switch name {
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		return KillThread, nil
	case "SCMP_ACT_KILL_PROCESS":
		return KillProcess, nil
	case "SCMP_ACT_TRAP":
		return Trap, nil
	case "SCMP_ACT_ERRNO":
		return Errno, nil
	case "SCMP_ACT_TRACE":
		return Trace, nil
	case "SCMP_ACT_ALLOW":
		return Allow, nil
	case "SCMP_ACT_LOG":
		return Log, nil
	case "SCMP_ACT_NOTIFY":
		return 0, fmt.Errorf("action SCMP_ACT_NOTIFY: bryo hands no filter to a seccomp agent")
	}
	return 0, fmt.Errorf("unknown action %q", clip(name))
}

func parseOp(name string) (Op, error) {
	switch name {
	case "SCMP_CMP_EQ":
		return EqualTo, nil
	case "SCMP_CMP_NE":
		return NotEqual, nil
	case "SCMP_CMP_LT":
		return LessThan, nil
	case "SCMP_CMP_LE":
		return LessEqual, nil
	case "SCMP_CMP_GT":
		return GreaterThan, nil
	case "SCMP_CMP_GE":
		return GreaterEqual, nil
	case "SCMP_CMP_MASKED_EQ":
		return MaskedEqual, nil
	}
	return 0, fmt.Errorf("unknown operator %q", clip(name))
}

// parseFlag maps the flags of the runtime spec. TSYNC is accepted and means
// nothing: a filter is loaded before the container has a second thread.
func parseFlag(name string) (uint32, error) {
	switch name {
	case "SECCOMP_FILTER_FLAG_TSYNC":
		return 0, nil
	case "SECCOMP_FILTER_FLAG_LOG":
		return unix.SECCOMP_FILTER_FLAG_LOG, nil
	case "SECCOMP_FILTER_FLAG_SPEC_ALLOW":
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	case "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
		// The kernel takes it only together with a listener.
		return 0, fmt.Errorf("seccomp profile: flag %s: bryo hands no filter to a seccomp agent", name)
	}
	return 0, fmt.Errorf("seccomp profile: unknown flag %q", clip(name))
}

// knownArches are the names of the runtime spec. Those without a table here
// never meet their kernel and are ignored.
const knownArches = " SCMP_ARCH_X86 SCMP_ARCH_X86_64 SCMP_ARCH_X32 SCMP_ARCH_ARM SCMP_ARCH_AARCH64 SCMP_ARCH_MIPS" +
	" SCMP_ARCH_MIPS64 SCMP_ARCH_MIPS64N32 SCMP_ARCH_MIPSEL SCMP_ARCH_MIPSEL64 SCMP_ARCH_MIPSEL64N32 SCMP_ARCH_PPC" +
	" SCMP_ARCH_PPC64 SCMP_ARCH_PPC64LE SCMP_ARCH_S390 SCMP_ARCH_S390X SCMP_ARCH_PARISC SCMP_ARCH_PARISC64" +
	" SCMP_ARCH_RISCV64 SCMP_ARCH_LOONGARCH64 SCMP_ARCH_M68K SCMP_ARCH_SH SCMP_ARCH_SHEB "

func (p *Profile) checkArches() error {
	names := append([]string{}, p.Architectures...)
	for _, e := range p.ArchMap {
		names = append(append(names, e.Arch), e.SubArches...)
	}
	for _, name := range names {
		if name == "" || strings.Contains(name, " ") || !strings.Contains(knownArches, " "+name+" ") {
			return fmt.Errorf("seccomp profile: unknown architecture %q", clip(name))
		}
	}
	return nil
}

// clip keeps a foreign word short enough for one line of an error.
func clip(s string) string {
	const longest = 64
	if len(s) > longest {
		return s[:longest] + "..."
	}
	return s
}

// plain makes one readable line of an error of encoding/json.
func plain(err error) error {
	if e, ok := err.(*json.UnmarshalTypeError); ok {
		return fmt.Errorf("%s: %s does not fit", strings.TrimPrefix(e.Field, "."), e.Value)
	}
	return err
}
