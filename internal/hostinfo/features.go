package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

func (h *Host) kernelVersion(context.Context) Feature {
	f := Feature{Name: "kernel", State: OK, Detail: h.Kernel.Release(), Doc: "docs/hosts.md#kernel"}
	if h.olderThan(5, 11) {
		f.State = Degraded
		f.Detail += ", older than 5.11"
		f.Without = "no overlay in user namespaces: layers are copied for each container"
	}
	if h.read("proc/sys/vm/memfd_noexec") == "2" {
		f.State = Missing
		f.Detail += ", vm.memfd_noexec=2"
		f.Without = "containers cannot start: the last stage of a start runs from memory"
		f.Cure = sysctl("vm.memfd_noexec", "1")
	}
	return f
}

// olderThan looks at the kernel; an unknown form of its release is not a reason to
// complain.
func (h *Host) olderThan(major, minor uint16) bool {
	r, err := linux.ParseRelease(h.Kernel.Release())
	return err == nil && r.Before(major, minor)
}

func (h *Host) overlay(ctx context.Context) Feature {
	f := Feature{Name: "overlay", State: OK, Detail: "tried: mounted in a user namespace", Doc: "docs/hosts.md#overlay"}
	err := h.tryInside(ctx, probeOverlay)
	if err == nil {
		return f
	}
	f.State, f.Detail = Missing, err.Error()
	if errors.Is(err, errNotTried) {
		f.Without = "see user namespaces"
		return f
	}
	f.Without = "layers are copied for each container (by reflink or hard link where the file system can)"
	if !h.olderThan(5, 11) && !strings.Contains(h.read("proc/filesystems"), "overlay") {
		f.Cure = []string{"sudo modprobe overlay", "echo overlay | sudo tee /etc/modules-load.d/overlay.conf"}
	}
	return f
}

var errNotTried = errors.New("not tried: no user namespaces")

func (h *Host) tryInside(ctx context.Context, probe string) error {
	if h.Kernel.TryUserNS() != nil {
		return errNotTried
	}
	return h.Kernel.TryInside(ctx, probe)
}

var maskedProc = blocker{
	cause: "parts of /proc are covered by mounts, so the kernel allows no new proc mount (a container inside a container)",
	cure:  []string{"docker run --security-opt systempaths=unconfined …", "podman run --security-opt unmask=ALL …"},
}

func (h *Host) procMount(ctx context.Context) Feature {
	f := Feature{Name: "/proc", State: OK, Detail: "tried: mounted in a pid namespace", Doc: "docs/hosts.md#proc"}
	if !h.exists("proc/self/status") {
		f.State, f.Detail, f.Without = Missing, "no procfs is mounted there", "no container can run, and other lines of this table may be wrong"
		f.Cure = []string{"sudo mount -t proc proc /proc"}
		return f
	}
	err := h.tryInside(ctx, probeProc)
	if err == nil {
		return f
	}
	f.State, f.Detail = Degraded, err.Error()
	if errors.Is(err, errNotTried) {
		f.Without = "see user namespaces"
		return f
	}
	f.Without = "the existing /proc is bound into the container, which sees the process ids of this one"
	if h.ProcMasked() {
		f.Detail, f.Cure = maskedProc.cause, maskedProc.cure
	}
	return f
}

func (h *Host) sys(context.Context) Feature {
	f := Feature{Name: "/sys", State: OK, Detail: "nothing of it is covered", Doc: "docs/hosts.md#proc"}
	if h.SysMasked() {
		f.State, f.Detail = Degraded, "parts of /sys are covered by mounts, so the kernel allows no new sysfs mount (a container inside a container)"
		f.Without = "the existing /sys is bound into the container, read-only, and shows the network devices of this one"
		f.Cure = maskedProc.cure
	}
	return f
}

// SysMasked tells whether parts of /sys are covered, as inside a container: then a
// user namespace gets no new sysfs either.
func SysMasked() bool { return masked().sys }

func (h *Host) SysMasked() bool { return sysMasked(h.mounts()) }

func sysMasked(mounts []linux.Mount) bool {
	for _, m := range mounts {
		if strings.HasPrefix(m.Point, "/sys/") && !slices.ContainsFunc(sysMountPoints, func(known string) bool {
			return m.Point == known || strings.HasPrefix(m.Point, known+"/")
		}) {
			return true
		}
	}
	return false
}

// sysMountPoints are always empty in a sysfs: a mount there covers nothing.
var sysMountPoints = []string{
	"/sys/fs/bpf", "/sys/fs/cgroup", "/sys/fs/fuse/connections", "/sys/fs/pstore", "/sys/fs/resctrl", "/sys/fs/selinux", "/sys/fs/smackfs",
	"/sys/firmware/efi/efivars", "/sys/kernel/config", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
}

// ProcMasked tells whether something is mounted over parts of /proc. The kernel
// then refuses a new proc mount in a user namespace (mount_too_revealing).
func ProcMasked() bool { return masked().proc }

// masked is looked up once: a process keeps its host.
var masked = sync.OnceValue(func() (m struct{ proc, sys bool }) {
	h := &Host{FS: os.DirFS("/")}
	mounts := h.mounts()
	m.proc, m.sys = procMasked(mounts), sysMasked(mounts)
	return m
})

func (h *Host) ProcMasked() bool { return procMasked(h.mounts()) }

func procMasked(mounts []linux.Mount) bool {
	for _, m := range mounts {
		// An automount point for binfmt_misc is an always empty directory.
		if strings.HasPrefix(m.Point, "/proc/") && !strings.HasPrefix(m.Point, "/proc/sys/fs/binfmt_misc") {
			return true
		}
	}
	return false
}

func (h *Host) mounts() []linux.Mount {
	mounts, _ := linux.ParseMounts(h.read("proc/self/mountinfo"))
	return mounts
}

func (h *Host) seccomp(context.Context) Feature {
	f := Feature{Name: "seccomp", State: OK, Detail: "filters and user notification", Doc: "docs/hosts.md#seccomp"}
	filter, notify := h.Kernel.Seccomp()
	switch {
	case !filter:
		f.State, f.Detail = Missing, "the kernel takes no filter (CONFIG_SECCOMP_FILTER)"
		f.Without = "run refuses to start a container unless told --security-opt seccomp=unconfined"
	case !notify:
		f.State, f.Detail = Degraded, "filters, no user notification (needs Linux 5.0)"
		f.Without = "everything runs; `--network bypass` is refused"
	}
	if mode := h.statusField("Seccomp"); mode == "2" {
		f.Detail += "; already inside a filter of the surrounding container"
	}
	return f
}

func (h *Host) landlock(context.Context) Feature {
	f := Feature{Name: "Landlock", State: OK, Doc: "docs/hosts.md#landlock"}
	abi := h.Kernel.LandlockABI()
	f.Detail = "ABI " + strconv.Itoa(abi)
	if abi > 0 {
		return f
	}
	f.State, f.Detail = Missing, "not in this kernel, or not switched on"
	f.Without = "containers run without this second wall"
	if lsm := h.read("sys/kernel/security/lsm"); lsm != "" && !strings.Contains(lsm, "landlock") && !h.olderThan(5, 13) {
		f.Cure = []string{"add lsm=landlock," + lsm + " to the kernel command line (GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub; reboot)"}
	}
	return f
}

var tunCure = []string{
	"sudo modprobe tun",
	"[ -e /dev/net/tun ] || { sudo mkdir -p /dev/net; sudo mknod /dev/net/tun c 10 200; }",
	"sudo chmod 0666 /dev/net/tun",
}

// devices are what every container has of the host's.
func (h *Host) devices(context.Context) Feature {
	f := Feature{Name: "/dev", State: OK, Detail: "the usual devices open", Doc: "docs/hosts.md#dev"}
	for _, d := range []struct{ path, numbers string }{
		{"/dev/null", "3"}, {"/dev/zero", "5"}, {"/dev/full", "7"}, {"/dev/random", "8"}, {"/dev/urandom", "9"},
	} {
		if err := h.Kernel.OpenError(d.path, unix.O_RDONLY); err != nil {
			f.State, f.Detail, f.Without = Missing, d.path+": "+err.Error(), "no container can run"
			f.Cure = []string{"sudo mknod -m 0666 " + d.path + " c 1 " + d.numbers}
			return f
		}
	}
	return f
}

func (h *Host) tun(context.Context) Feature {
	f := Feature{Name: "/dev/net/tun", State: OK, Detail: "opens for reading and writing", Doc: "docs/hosts.md#tun"}
	if err := h.Kernel.OpenError("/dev/net/tun", unix.O_RDWR); err != nil {
		f.State, f.Detail = Missing, err.Error()
		f.Without = "containers have outbound TCP and DNS by redirection where nftables lets us, else no network; `--network bypass` and `--network host` work"
		f.Cure = tunCure
	}
	return f
}

func (h *Host) fuse(context.Context) Feature {
	f := Feature{Name: "/dev/fuse", State: OK, Detail: "opens for reading and writing", Doc: "docs/hosts.md#fuse"}
	if err := h.Kernel.OpenError("/dev/fuse", unix.O_RDWR); err != nil {
		f.State, f.Detail = Missing, err.Error()
		f.Without = "bryo itself needs no fuse; `--device /dev/fuse` fails"
		f.Cure = []string{"sudo modprobe fuse", "[ -e /dev/fuse ] || sudo mknod /dev/fuse c 10 229", "sudo chmod 0666 /dev/fuse"}
	}
	return f
}

func (h *Host) securityModule(context.Context) Feature {
	f := Feature{Name: "AppArmor, SELinux", State: OK, Doc: "docs/hosts.md#lsm"}
	confined, _, _ := strings.Cut(h.read("proc/self/attr/current"), "\x00")
	switch {
	case h.appArmorRestricts() && confined == "unconfined" && h.User.UID != 0:
		f.State, f.Detail = Degraded, "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)"
		f.Without = "no container can run unless a profile allows it"
		f.Cure = appArmorProfile(h.Kernel.Executable())
	case h.read("sys/fs/selinux/enforce") == "1":
		f.Detail = "SELinux enforcing: add :z to bind mounts that the container may read"
	case h.read("sys/module/apparmor/parameters/enabled") == "Y":
		f.Detail = "AppArmor on, this process: " + orNone(confined)
	default:
		f.Detail = "none restricts this process"
	}
	return f
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return strings.TrimSpace(s)
}

func (h *Host) keyring(context.Context) Feature {
	f := Feature{Name: "kernel keyring", State: OK, Doc: "docs/hosts.md#keyring"}
	err := h.Kernel.KeyringError()
	switch {
	case err == nil:
		f.Detail = "each container gets a session keyring of its own"
		if most := h.read("proc/sys/kernel/keys/maxkeys"); most != "" && h.User.UID != 0 {
			f.Detail += "; at most " + most + " keys for this user"
		}
	case errors.Is(err, syscall.ENOSYS):
		f.Detail = "not in this kernel: nothing to keep from a container"
	default:
		f.State, f.Detail = Degraded, err.Error()
		f.Without = "containers get no keyring; the default filter denies keyctl in any case"
	}
	return f
}

func (h *Host) runtimeDir(context.Context) Feature {
	f := Feature{Name: "XDG_RUNTIME_DIR", State: OK, Doc: "docs/hosts.md#runtime-dir"}
	dir := h.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		f.Detail = "not set, not needed"
		return f
	}
	owner, mode, err := h.Kernel.Owner(dir)
	switch {
	case err != nil:
		f.State, f.Detail = Degraded, dir+": "+err.Error()
	case owner != h.User.UID:
		f.State, f.Detail = Degraded, fmt.Sprintf("%s belongs to uid %d", dir, owner)
	case mode.Perm()&0o077 != 0:
		f.State, f.Detail = Degraded, fmt.Sprintf("%s has mode %04o, wider than 0700", dir, mode.Perm())
	default:
		f.Detail = dir
		return f
	}
	f.Without = "it is not used; the data root is"
	f.Cure = []string{"unset XDG_RUNTIME_DIR"}
	if h.exists(fmt.Sprintf("run/user/%d", h.User.UID)) {
		f.Cure = []string{fmt.Sprintf("export XDG_RUNTIME_DIR=/run/user/%d", h.User.UID)}
	}
	return f
}

func (h *Host) home(context.Context) Feature {
	f := Feature{Name: "home", State: OK, Doc: "docs/hosts.md#home"}
	dir := h.Getenv("XDG_DATA_HOME")
	if dir == "" {
		dir = h.Getenv("HOME")
	}
	f.Detail = dir
	elsewhere := []string{"export BRYO_ROOT=/path/with/space"}
	if dir == "" {
		f.State, f.Detail, f.Cure = Degraded, "HOME is not set", elsewhere
		f.Without = "images and containers need a place: --root DIR or BRYO_ROOT"
		return f
	}
	flags, writable, err := h.Kernel.FileSystem(dir)
	switch {
	case err != nil || !writable || flags&unix.ST_RDONLY != 0:
		f.State, f.Cure = Degraded, elsewhere
		f.Detail += ": " + firstOf(err, "not writable")
		f.Without = "images and containers need another place: --root DIR or BRYO_ROOT"
	case flags&unix.ST_NOEXEC != 0:
		// An overlay mount has flags of its own, so images are not affected.
		f.Detail += " (noexec: programs of images run, programs in bind mounts of it do not)"
	}
	return f
}

func (h *Host) tmp(context.Context) Feature {
	f := Feature{Name: "temporary files", State: OK, Doc: "docs/hosts.md#tmp"}
	dir := h.Getenv("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	f.Detail = dir
	flags, writable, err := h.Kernel.FileSystem(dir)
	switch {
	case err != nil || !writable || flags&unix.ST_RDONLY != 0:
		f.State = Degraded
		f.Detail += ": " + firstOf(err, "not writable")
		f.Without = "bryo keeps its own temporary files in the data root; other programs may complain"
		f.Cure = []string{"export TMPDIR=$HOME"}
	case flags&unix.ST_NOEXEC != 0:
		f.Detail += " (noexec: bryo runs nothing from there)"
	}
	return f
}

func firstOf(err error, text string) string {
	if err != nil {
		return err.Error()
	}
	return text
}

func (h *Host) exists(path string) bool {
	_, err := fs.Stat(h.FS, path)
	return err == nil
}
