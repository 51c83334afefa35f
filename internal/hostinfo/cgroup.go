package hostinfo

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// CgroupMode says how control groups are mounted on this host.
type CgroupMode string

const (
	CgroupV2     CgroupMode = "v2"
	CgroupHybrid CgroupMode = "hybrid"
	CgroupV1     CgroupMode = "v1"
	CgroupNone   CgroupMode = "none"
)

// Cgroup is what a container's limits can build on.
type Cgroup struct {
	Mode        CgroupMode
	Dir         string   // this process's v2 group below the mount, "" without v2
	Writable    bool     // this user may make groups in Dir
	UserManager string   // the user's delegated systemd group, "" when there is none
	Bus         string   // path of the session bus socket, "" when there is none
	Controllers []string // available for limits; empty when nothing is delegated
}

// wanted are the controllers behind --memory, --cpus and --pids-limit.
var wanted = []string{"cpu", "memory", "pids"}

// Cgroups reads how this process may limit a container.
func Cgroups() Cgroup { return System().Cgroups() }

func (h *Host) Cgroups() Cgroup {
	c := Cgroup{Mode: h.cgroupMode()}
	if c.Mode != CgroupV2 {
		return c
	}
	for line := range strings.SplitSeq(h.read("proc/self/cgroup"), "\n") {
		if dir, ok := strings.CutPrefix(line, "0::"); ok {
			c.Dir = dir
		}
	}
	const mount = "sys/fs/cgroup"
	if _, writable, err := h.Kernel.FileSystem("/" + path.Join(mount, c.Dir, "cgroup.procs")); err == nil && writable {
		c.Writable = true
		c.Controllers = strings.Fields(h.read(path.Join(mount, c.Dir, "cgroup.controllers")))
	}
	if h.User.UID == 0 && !h.wholeIDs() {
		return c // root of a user namespace: no manager knows him by that name
	}
	if h.User.UID == 0 && h.exists("run/systemd/system") && h.exists(systemBus) {
		// Root asks the system's manager.
		c.Bus, c.Controllers = "/"+systemBus, strings.Fields(h.read(path.Join(mount, "cgroup.controllers")))
		return c
	}
	if manager := h.manager(); h.exists(path.Join(mount, manager)) {
		c.UserManager = manager
		c.Bus = h.sessionBus()
		if c.Bus != "" {
			c.Controllers = strings.Fields(h.read(path.Join(mount, manager, "cgroup.controllers")))
		}
	}
	return c
}

// wholeIDs: the user namespace has all ids, as the initial one does; so it is where
// /proc hides the map.
func (h *Host) wholeIDs() bool {
	ids := h.ownExtents("uid")
	return len(ids) == 0 || ids[0] == Range{0, 1<<32 - 1}
}

const systemBus = "run/dbus/system_bus_socket"

// manager is the group of the user's own systemd.
func (h *Host) manager() string {
	return fmt.Sprintf("/user.slice/user-%[1]d.slice/user@%[1]d.service", h.User.UID)
}

// cgroupMode tells v2 alone from a v1 tree with v2 beside it (hybrid) by what
// is mounted below /sys/fs/cgroup.
func (h *Host) cgroupMode() CgroupMode {
	var v1, v2, unified bool
	for _, m := range h.mounts() {
		switch {
		case m.Type == "cgroup":
			v1 = true
		case m.Type == "cgroup2" && m.Point == "/sys/fs/cgroup":
			v2, unified = true, true
		case m.Type == "cgroup2":
			v2 = true
		}
	}
	switch {
	case unified:
		return CgroupV2
	case v1 && v2:
		return CgroupHybrid
	case v1:
		return CgroupV1
	case v2:
		return CgroupV2
	}
	return CgroupNone
}

func (h *Host) sessionBus() string {
	if address, ok := strings.CutPrefix(h.Getenv("DBUS_SESSION_BUS_ADDRESS"), "unix:path="); ok {
		address, _, _ = strings.Cut(address, ",")
		if h.exists(strings.TrimPrefix(address, "/")) {
			return address
		}
	}
	bus := fmt.Sprintf("run/user/%d/bus", h.User.UID)
	if h.exists(bus) {
		return "/" + bus
	}
	return ""
}

func (h *Host) cgroup(context.Context) Feature {
	f := Feature{Name: "cgroup limits", State: OK, Doc: "docs/hosts.md#cgroup"}
	c := h.Cgroups()
	f.Without = "containers run without limits; --memory, --cpus and --pids-limit are refused"
	switch {
	case !h.exists("sys/fs/cgroup"):
		f.State, f.Detail, f.Without = Missing, "/sys/fs/cgroup is not there: no sysfs is mounted on /sys", "no container can run"
		f.Cure = []string{"sudo mount -t sysfs sysfs /sys"}
	case c.Mode == CgroupNone:
		f.State, f.Detail = Missing, "no cgroup file system is mounted"
	case c.Mode != CgroupV2:
		f.State, f.Detail = Missing, "cgroup "+string(c.Mode)+", which is not delegated to users"
		f.Cure = []string{"add systemd.unified_cgroup_hierarchy=1 to the kernel command line (GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub; reboot)"}
	case len(c.Controllers) == 0 && c.UserManager != "":
		f.State, f.Detail = Missing, "cgroup v2 with a user session, but no session bus"
		f.Cure = []string{h.install("dbus-user-session", "dbus-daemon", "dbus", "dbus"), "log out and in again"}
	case len(c.Controllers) == 0:
		f.State, f.Detail = Missing, "cgroup v2, nothing delegated to "+h.User.label()
		f.Cure = []string{"sudo loginctl enable-linger " + h.User.label(), "log out and in again (a login, not su or sudo)"}
	default:
		h.judgeControllers(&f, c)
	}
	return f
}

func (h *Host) judgeControllers(f *Feature, c Cgroup) {
	f.Detail = "cgroup v2, delegated: " + strings.Join(c.Controllers, " ")
	var absent []string
	for _, name := range wanted {
		if !slices.Contains(c.Controllers, name) {
			absent = append(absent, name)
		}
	}
	if len(absent) == 0 {
		f.Without = ""
		return
	}
	f.State = Degraded
	f.Detail += "; not delegated: " + strings.Join(absent, " ")
	f.Without = "limits that need " + strings.Join(absent, " or ") + " are refused"
	f.Cure = delegation
}
