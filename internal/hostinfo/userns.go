package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A blocker is a setting of the host that forbids user namespaces, or what one
// can do inside them, to ordinary users.
type blocker struct {
	cause string
	cure  []string
}

func (h *Host) userNamespaces(context.Context) Feature {
	f := Feature{Name: "user namespaces", State: OK, Doc: "docs/hosts.md#userns"}
	err := h.Kernel.TryUserNS()
	if err == nil {
		f.Detail = "tried: created, mapped, private mounts inside"
		if limit := h.userNSLimit(); limit >= 0 {
			f.Detail += fmt.Sprintf("; at most %d", limit)
		}
		return f
	}
	b := h.blocker(err)
	f.State, f.Cure = Missing, b.cure
	f.Detail = fmt.Sprintf("%v: %s", err, b.cause)
	f.Without = "no container can run; pull, images and the other commands on images need them too"
	return f
}

// blocker finds what stands behind the error of a user namespace set-up. It
// reads settings in the order in which the kernel checks them.
func (h *Host) blocker(err error) blocker {
	switch {
	case h.userNSLimit() == 0 && !h.wholeIDs():
		return blocker{"the container around this one allows none (user.max_user_namespaces=0 in its user namespace)",
			[]string{"sysctl -w user.max_user_namespaces=15000   # as root of that container, with /proc/sys writable"}}
	case h.userNSLimit() == 0:
		return blocker{"the host allows none (user.max_user_namespaces=0)", sysctl("user.max_user_namespaces", "15000")}
	case (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EUSERS)) && !h.wholeIDs():
		return blocker{"a limit of the host, or of a container around this one, is reached (user.max_user_namespaces there, or 32 of them inside each other)", nil}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EUSERS):
		return blocker{fmt.Sprintf("the limit is reached (user.max_user_namespaces=%d, or 32 of them inside each other)", h.userNSLimit()),
			sysctl("user.max_user_namespaces", "15000")}
	case h.read("proc/sys/kernel/unprivileged_userns_clone") == "0":
		return blocker{"this host blocks unprivileged user namespaces (kernel.unprivileged_userns_clone=0)", sysctl("kernel.unprivileged_userns_clone", "1")}
	case h.appArmorRestricts():
		return blocker{"this host blocks unprivileged user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)", appArmorProfile(h.Kernel.Executable())}
	case !h.exists("proc/self/ns/user"), errors.Is(err, syscall.ENOSYS):
		return blocker{"the kernel is built without user namespaces (CONFIG_USER_NS)", nil}
	case h.chrooted():
		return blocker{"this is a chroot, and the kernel makes no user namespace in one: use a mount namespace with pivot_root instead of chroot", nil}
	case h.statusField("Seccomp") == "2":
		return blocker{"a seccomp filter of the surrounding container or service forbids it",
			[]string{"docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined …"}}
	case h.read("sys/fs/selinux/enforce") == "1":
		return blocker{"SELinux may forbid it", []string{"sudo ausearch -m avc -ts recent"}}
	}
	return blocker{"a security module or the surrounding container may forbid it", nil}
}

func (h *Host) userNSLimit() int {
	n, err := strconv.Atoi(h.read("proc/sys/user/max_user_namespaces"))
	if err != nil {
		return -1
	}
	return n
}

func (h *Host) appArmorRestricts() bool {
	return h.read("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
}

// chrooted: the mount table of a process in a chroot has no entry for its root,
// unless somebody mounted something exactly there.
func (h *Host) chrooted() bool {
	mounts := h.mounts()
	for _, m := range mounts {
		if m.Point == "/" {
			return false
		}
	}
	return len(mounts) > 0
}

func sysctl(name, value string) []string {
	return []string{fmt.Sprintf("echo %s=%s | sudo tee /etc/sysctl.d/80-bryo.conf && sudo sysctl -p /etc/sysctl.d/80-bryo.conf", name, value)}
}

// appArmorProfile allows user namespaces to this one program, as Ubuntu's own
// profiles for browsers do; the sysctl would allow them to every program.
func appArmorProfile(program string) []string {
	profile := `abi <abi/4.0>,\ninclude <tunables/global>\nprofile bryo ` + program + ` flags=(unconfined) {\n  userns,\n}\n`
	return []string{
		"printf '" + profile + "' | sudo tee /etc/apparmor.d/bryo",
		"sudo apparmor_parser -r /etc/apparmor.d/bryo",
	}
}

// Explain turns the error of a failed step into one or two lines: the cause on
// this host and what to do about it. "" when nothing is known. The steps are
// the ones that name themselves in errors: "unshare", "newuidmap",
// "newgidmap", "write uid_map", "write gid_map", "write setgroups", "mount",
// "mount overlay", "mount proc", "open /dev/net/tun".
func Explain(err error, step string) string { return System().Explain(err, step) }

func (h *Host) Explain(err error, step string) string {
	if err == nil || usedUp(err) {
		return ""
	}
	denied := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
	switch {
	case step == "unshare":
		return h.blocker(err).text("userns")
	case strings.HasPrefix(step, "newuidmap"), strings.HasPrefix(step, "newgidmap"):
		return h.explainHelper(err, step)
	case strings.HasPrefix(step, "write ") && denied, step == "mount" && denied:
		// The namespace was made and gives no rights: what AppArmor's
		// restriction looks like from inside.
		return h.blocker(err).text("userns")
	case step == "mount overlay" && (denied || errors.Is(err, syscall.ENODEV)):
		return blocker{cause: "this kernel mounts no overlay in user namespaces (needs 5.11 or newer and the overlay module)"}.text("overlay")
	case step == "mount proc" && denied:
		return maskedProc.text("proc")
	case step == "open /dev/net/tun":
		return blocker{"no usable /dev/net/tun", tunCure}.text("tun")
	}
	return ""
}

// usedUp: the error says all, and no setting stands behind it.
func usedUp(err error) bool {
	return slices.ContainsFunc([]error{syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}, func(e error) bool {
		return errors.Is(err, e) || strings.HasSuffix(strings.ToLower(err.Error()), e.Error())
	})
}

func (h *Host) explainHelper(err error, step string) string {
	program, _, _ := strings.Cut(step, " ")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return blocker{program + " is not installed", h.helperCure()}.text("newuidmap")
	case strings.Contains(err.Error(), "not allowed"):
		file := map[string]string{"newuidmap": "/etc/subuid", "newgidmap": "/etc/subgid"}[program]
		return blocker{fmt.Sprintf("%s does not give these ids to %s", file, h.User.label()),
			[]string{fmt.Sprintf("grep -n %s %s", h.User.label(), file)}}.text("subuid")
	}
	if problem := h.idMapHelperProblem(); problem != "" {
		return blocker{problem, h.helperCure()}.text("newuidmap")
	}
	return h.blocker(err).text("userns")
}

func (b blocker) text(anchor string) string {
	text := b.cause
	if !strings.HasPrefix(text, "new") { // names of programs keep their case
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	text += ". See docs/hosts.md#" + anchor
	if len(b.cure) > 0 {
		text += "\n  " + strings.Join(b.cure, "\n  ")
	}
	return text
}
