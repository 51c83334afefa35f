package sandbox

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilityNames is indexed by the kernel's number (linux/capability.h).
var capabilityNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// defaultCapabilities: podman's eleven. Docker's NET_RAW, MKNOD and AUDIT_WRITE
// are left out: raw sockets are of little use behind a user-mode stack, device
// nodes cannot be made in a user namespace, and the audit log is the host's.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
	"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// DefaultCapabilities returns the names that a container has without --cap-add
// and --cap-drop.
func DefaultCapabilities() []string { return append([]string(nil), defaultCapabilities...) }

// LastCapability is the highest capability number this kernel knows.
func LastCapability() int {
	for n := len(capabilityNames) - 1; n >= 0; n-- {
		if r, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && r >= 0 {
			return n
		}
	}
	return -1
}

// AllCapabilities returns every capability this kernel knows, in its order.
func AllCapabilities() []string {
	return append([]string(nil), capabilityNames[:LastCapability()+1]...)
}

// Capabilities applies docker's --cap-add and --cap-drop lists to base. Names
// come with or without CAP_, in any case; ALL stands for all of them.
func Capabilities(base, add, drop []string) ([]string, error) {
	adds, addAll, err := normalise(add)
	if err != nil {
		return nil, err
	}
	drops, dropAll, err := normalise(drop)
	if err != nil {
		return nil, err
	}
	set := 0 | bits(base)
	switch {
	case addAll:
		set = bits(AllCapabilities())
	case dropAll:
		set = 0
	}
	set |= bits(adds)
	set &^= bits(drops)
	if addAll && dropAll {
		set = bits(adds)
	}
	return names(set), nil
}

func normalise(list []string) (known []string, all bool, err error) {
	for _, raw := range list {
		name := strings.ToUpper(strings.TrimSpace(raw))
		if name == "ALL" {
			all = true
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if _, ok := number(name); !ok {
			return nil, false, fmt.Errorf("invalid capability: %q", raw)
		}
		known = append(known, name)
	}
	return known, all, nil
}

func number(name string) (int, bool) {
	for n, known := range capabilityNames {
		if known == name {
			return n, true
		}
	}
	return 0, false
}

func bits(list []string) (set uint64) {
	for _, name := range list {
		if n, ok := number(name); ok {
			set |= 1 << n
		}
	}
	return set
}

func names(set uint64) []string {
	list := []string{}
	for n, name := range capabilityNames {
		if set>>n&1 == 1 {
			list = append(list, name)
		}
	}
	return list
}
