package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bryo/internal/hostinfo"
	"bryo/internal/state"
	"bryo/rootfs/mount"
	"bryo/sandbox"
	"bryo/sandbox/userns"
)

// spec describes the container to package sandbox as an OCI runtime spec. Its
// user namespace is the supervisor's own, but for keep-id.
func (s *supervisor) spec(t *tree) (*specs.Spec, error) {
	c := s.config
	caps, err := capabilities(c)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version:    specs.Version,
		Root:       &specs.Root{Path: t.jail, Readonly: c.Host.ReadOnly},
		Hostname:   hostname(c),
		Domainname: c.Host.Domainname,
		Mounts:     t.mounts,
		Process: &specs.Process{
			Terminal:        c.Process.Tty,
			Args:            c.Process.Args,
			Env:             environment(c, t),
			Cwd:             c.Process.WorkDir,
			User:            specs.User{UID: t.user.UID, GID: t.user.GID, AdditionalGids: t.user.Groups},
			NoNewPrivileges: c.Host.Security.NoNewPrivileges,
			Capabilities:    userCapabilities(caps, t.user.UID, c.Host.CapAdd),
			Rlimits:         rlimits(c),
			OOMScoreAdj:     c.Host.OOMScore,
		},
		Linux: &specs.Linux{
			Namespaces:  namespaces(c, namespacePath(s.wires.namespace)),
			Sysctl:      c.Host.Sysctls,
			CgroupsPath: s.group.Path,
			Resources:   s.resources(c),
		},
	}
	if keep := c.Host.KeepID; keep != nil {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = specRanges(keep.UIDs), specRanges(keep.GIDs)
	}
	if c.Host.UTS == "host" || !mayName() {
		spec.Hostname, spec.Domainname = "", ""
	}
	hide(spec, c)
	return spec, nil
}

func specRanges(ranges []userns.Range) (out []specs.LinuxIDMapping) {
	for _, r := range ranges {
		out = append(out, specs.LinuxIDMapping{ContainerID: r.Inside, HostID: r.Outside, Size: r.Count})
	}
	return out
}

func hostname(c *state.Config) string {
	if c.Host.Hostname != "" {
		return c.Host.Hostname
	}
	if c.Host.Network == "host" {
		if name, err := os.Hostname(); err == nil {
			return name
		}
	}
	return c.ID[:12]
}

func capabilities(c *state.Config) ([]string, error) {
	base := sandbox.DefaultCapabilities()
	if c.Host.Privileged {
		base = sandbox.AllCapabilities()
	}
	return sandbox.Capabilities(base, c.Host.CapAdd, c.Host.CapDrop)
}

// userCapabilities follows docker: root has them all, another user only has
// them within reach of set-user-id programs (bounding set), but for what
// --cap-add named, which podman and kubernetes hand on as ambient ones.
func userCapabilities(caps []string, uid uint32, added []string) *specs.LinuxCapabilities {
	if uid == 0 {
		return &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
	}
	asked, err := sandbox.Capabilities(nil, added, nil)
	if err != nil || len(asked) == 0 {
		return &specs.LinuxCapabilities{Bounding: caps}
	}
	return &specs.LinuxCapabilities{Bounding: caps, Permitted: asked, Effective: asked, Inheritable: asked, Ambient: asked}
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment: docker's few variables first, then the image's and the user's.
func environment(c *state.Config, t *tree) []string {
	env := []string{defaultPath, "HOSTNAME=" + hostname(c)}
	if c.Process.Tty {
		env = append(env, "TERM=xterm")
	}
	home := t.user.Home
	if home == "" {
		home = "/"
	}
	env = append(env, "HOME="+home)
	given := map[string]bool{}
	for _, e := range c.Process.Env {
		name, _, _ := strings.Cut(e, "=")
		given[name] = true
	}
	kept := env[:0]
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); !given[name] {
			kept = append(kept, e)
		}
	}
	return append(kept, c.Process.Env...)
}

// namespaces: all of its own but for what the user shares with the host. netns is
// the path of a network namespace that is there already; "": a new one.
func namespaces(c *state.Config, netns string) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, ns := range []struct {
		kind specs.LinuxNamespaceType
		mode string
	}{
		{specs.PIDNamespace, c.Host.PID},
		{specs.IPCNamespace, c.Host.IPC},
		{specs.UTSNamespace, c.Host.UTS},
		{specs.CgroupNamespace, c.Host.CgroupNS},
	} {
		if ns.mode != "host" {
			list = append(list, specs.LinuxNamespace{Type: ns.kind})
		}
	}
	if c.Host.OwnNetwork() {
		list = append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: netns})
	}
	return list
}

// rlimits: no core dumps unless asked for (A97); the others as the user's own
// session has them.
func rlimits(c *state.Config) []specs.POSIXRlimit {
	limits := []specs.POSIXRlimit{}
	core := false
	for _, l := range c.Host.Ulimits {
		core = core || l.Type == "RLIMIT_CORE"
		limits = append(limits, l)
	}
	if !core {
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_CORE"})
	}
	return limits
}

// Union of what docker and podman hide and protect.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func hide(spec *specs.Spec, c *state.Config) {
	spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = Hidden(c)
}

// Hidden says what of the kernel's files a container does not see, and what it
// cannot write.
func Hidden(c *state.Config) (masked, readonly []string) {
	security := c.Host.Security
	if c.Host.Privileged || security.UnmaskAll {
		return nil, nil
	}
	masked = without(append(append([]string(nil), maskedPaths...), thermalPaths()...), security.Unmask)
	return append(masked, security.Mask...), without(readonlyPaths, security.Unmask)
}

// thermalPaths: one folder per processor, where the machine has them.
func thermalPaths() (paths []string) {
	for n := 0; ; n++ {
		path := "/sys/devices/system/cpu/cpu" + strconv.Itoa(n)
		if unix.Access(path, unix.F_OK) != nil {
			return paths
		}
		if path += "/thermal_throttle"; unix.Access(path, unix.F_OK) == nil {
			paths = append(paths, path)
		}
	}
}

func without(paths, patterns []string) []string {
	kept := []string{}
	for _, p := range paths {
		drop := false
		for _, pattern := range patterns {
			match, err := filepath.Match(pattern, p)
			drop = drop || p == pattern || err == nil && match
		}
		if !drop {
			kept = append(kept, p)
		}
	}
	return kept
}

// standardMounts is everything under /proc, /sys and /dev but for what the user
// mounts there.
func (s *supervisor) standardMounts(dev string) []specs.Mount {
	c := s.config
	mounts := []specs.Mount{procMount(c)}
	if mount.Find(c.Host.Mounts, "/dev") == nil {
		mounts = append(mounts,
			specs.Mount{Destination: "/dev", Type: "bind", Source: dev, Options: []string{"rbind", "rprivate"}},
			specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: devptsOptions(c)})
		mounts = append(mounts, ipcMounts(c)...)
	}
	mounts = append(mounts, sysMounts(c)...)
	return withoutTargets(mounts, c.Host.Mounts)
}

// procMount: a procfs of its own, unless the pid namespace is shared (its owner
// alone may mount one) or the host's is partly hidden, as inside a container:
// then the kernel refuses a new one and the existing one is shown.
func procMount(c *state.Config) specs.Mount {
	options := []string{"nosuid", "noexec", "nodev"}
	if c.Host.PID == "host" || hostinfo.ProcMasked() {
		return specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: append(options, "rbind", "rprivate")}
	}
	return specs.Mount{Destination: "/proc", Type: "proc", Source: "proc", Options: options}
}

// ttyGroup is the group of terminals in every distribution: 5.
const ttyGroup = 5

func devptsOptions(c *state.Config) []string {
	options := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if inMapping(c.Mapping.GIDs, ttyGroup) {
		options = append(options, "gid="+strconv.Itoa(ttyGroup))
	}
	return options
}

func ipcMounts(c *state.Config) []specs.Mount {
	options := []string{"nosuid", "noexec", "nodev"}
	if c.Host.IPC == "host" {
		var mounts []specs.Mount
		for _, dir := range []string{"/dev/shm", "/dev/mqueue"} {
			if unix.Access(dir, unix.F_OK) == nil {
				mounts = append(mounts, specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: append(options[:3:3], "rbind", "rprivate")})
			}
		}
		return mounts
	}
	shm := c.Host.ShmSize
	if shm == 0 {
		shm = 64 << 20 // docker's default
	}
	return []specs.Mount{
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append(options[:3:3], "mode=1777", fmt.Sprintf("size=%d", shm))},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: options},
	}
}

// sysMounts: a sysfs of its own needs a network namespace of its own, and a host's
// that shows all; otherwise the host's is shown, read-only in every part.
func sysMounts(c *state.Config) []specs.Mount {
	options := []string{"nosuid", "noexec", "nodev"}
	if c.Host.Network == "host" || hostinfo.SysMasked() {
		return []specs.Mount{
			{Destination: "/sys", Type: "bind", Source: "/sys", Options: append(options[:3:3], "rbind", "rprivate", "rro")},
			{Destination: "/sys/fs/cgroup", Type: "tmpfs", Source: "tmpfs", Options: append(options[:3:3], "ro", "mode=755", "size=4k")},
		}
	}
	access := "ro"
	if c.Host.Privileged {
		access = "rw"
	}
	mounts := []specs.Mount{{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append(options[:3:3], access)}}
	if unifiedCgroups() && c.Host.CgroupNS != "host" {
		mounts = append(mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append(options[:3:3], "relatime", access)})
	}
	return mounts
}

func unifiedCgroups() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}
