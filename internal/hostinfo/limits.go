package hostinfo

import (
	"context"
	"io/fs"
	"strings"
)

// NoLimits says why a container cannot be limited by a controller on this host,
// and the commands that change it.
func NoLimits(controller string) (why string, cure []string) { return System().NoLimits(controller) }

// NoLimits explains a controller that is not delegated.
func (h *Host) NoLimits(controller string) (why string, cure []string) {
	c := h.Cgroups()
	switch {
	case c.Bus != "" && len(c.Controllers) > 0:
		return "the " + controller + " controller is not delegated to " + h.User.label(), delegation
	case c.Writable:
		return "the " + controller + " controller is not handed down by this process's control group " + c.Dir, inTheWay
	}
	f := h.cgroup(context.Background())
	return f.Detail, f.Cure
}

// inTheWay frees a writable group of its processes, for hosts and containers
// without systemd: cgroups(7), "no internal processes".
var inTheWay = []string{
	"mkdir /sys/fs/cgroup/shell",
	"for p in $(cat /sys/fs/cgroup/cgroup.procs); do echo $p >/sys/fs/cgroup/shell/cgroup.procs; done",
}

var delegation = []string{
	"sudo mkdir -p /etc/systemd/system/user@.service.d",
	`printf '[Service]\nDelegate=cpu cpuset io memory pids\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf`,
	"sudo systemctl daemon-reload",
	"log out and in again",
}

// ManagerStays: what runs under the user's systemd outlives a logout, or runs
// there already and would end with it anyway.
func ManagerStays() bool {
	h := System()
	if h.User.UID == 0 {
		return true
	}
	return strings.Contains(h.read("proc/self/cgroup"), h.manager()) || Lingers(h.FS, h.User.Name)
}

// Lingers: loginctl enable-linger was said for this user.
func Lingers(root fs.FS, user string) bool {
	_, err := fs.Stat(root, "var/lib/systemd/linger/"+user)
	return err == nil
}
