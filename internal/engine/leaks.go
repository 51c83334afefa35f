package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/internal/supervisor"
)

// endingTime is how long what ends at this moment may take: the processes of a killed
// container, and a supervisor that removes its own.
const endingTime = 300 * time.Millisecond

// checkProcesses finds processes that live on the mounts of a container whose
// supervisor is gone, and do so a moment later still.
func (e *Engine) checkProcesses() ([]Finding, error) {
	found, err := e.strays()
	if err != nil || len(found) == 0 {
		return nil, err
	}
	time.Sleep(endingTime)
	return e.strays()
}

func (e *Engine) strays() (found []Finding, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	home := locationOf(e.Root)
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		ref := linux.RefProcess(pid)
		id := home.containerOf(pid)
		if id == "" || e.supervised(id) || !ref.Alive() {
			continue
		}
		command, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
		found = append(found, Finding{
			Object: fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(command))), What: "of container " + id[:12] + ", which does not run",
			Cure:   "kill it",
			repair: func() error { return killNow(ref) },
		})
	}
	return found, nil
}

// killNow kills a process and waits until it is gone, with what it held.
func killNow(ref linux.ProcessRef) error {
	err := ref.Kill(unix.SIGKILL)
	for end := time.Now().Add(2 * time.Second); ref.Alive() || threads(ref.PID) > 1; time.Sleep(time.Millisecond) {
		switch {
		case err != nil:
			return err
		case time.Now().After(end):
			return errors.New("it does not end")
		}
	}
	return nil
}

// threads counts those of a process. The first one may have ended before the others,
// which hold the descriptors still.
func threads(pid int) int {
	entries, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	return len(entries)
}

// location is where a data root lies: its name, and its place in its file system in
// the terms of /proc/PID/mountinfo. A mount of a file below it names these, whatever
// it is called in the namespace of the mount.
type location struct{ root, device, path string }

// locationOf finds it by the mount that is nearest above root.
func locationOf(root string) location {
	home := location{root: root}
	mounts, _ := linux.Mounts("self") // without, only overlays tell
	nearest := -1
	for _, m := range mounts {
		below, found := strings.CutPrefix(root+"/", strings.TrimSuffix(m.Point, "/")+"/")
		if found && len(m.Point) >= nearest { // the later one hides the earlier
			nearest, home.device, home.path = len(m.Point), m.Device, filepath.Join(m.Root, below)
		}
	}
	return home
}

// containerOf is the container of this data root whose files a process has
// mounted; empty for all others.
func (home location) containerOf(pid int) string {
	mounts, err := linux.Mounts(strconv.Itoa(pid))
	if err != nil {
		return "" // not ours, or gone
	}
	for _, m := range mounts {
		if id := home.container(m); id != "" {
			return id
		}
	}
	return ""
}

// container is the ID that a mount names: a bind mount by its place, an overlay by
// its upper directory.
func (home location) container(m linux.Mount) string {
	const mark = "/containers/"
	rest, found := strings.CutPrefix(m.Root, strings.TrimSuffix(home.path, "/")+mark)
	if !found || m.Device != home.device {
		if _, rest, found = strings.Cut(m.Options, "upperdir="+home.root+mark); !found {
			return ""
		}
	}
	id, _, _ := strings.Cut(rest, "/")
	if !state.IsID(id) {
		return ""
	}
	return id
}

// supervised: somebody answers for the container's processes, or is about to. Damaged
// files say nothing about that: the supervisor itself is asked.
func (e *Engine) supervised(id string) bool {
	config, err := e.containers().Load(id)
	if err == nil && config.Creator.Alive() {
		return true
	}
	status, err := e.containers().RawStatus(id)
	return err == nil && status != nil && status.Supervisor.Alive() || e.answers(id)
}

// answers: the container's supervisor takes a connection.
func (e *Engine) answers(id string) bool {
	control, err := supervisor.Dial(supervisor.SocketPath(e.containers(), id))
	if err == nil {
		control.Close()
	}
	return err == nil
}

// killStrays ends the processes of a container whose state cannot be read.
func (e *Engine) killStrays(id string) {
	entries, _ := os.ReadDir("/proc")
	home := locationOf(e.Root)
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if ref := linux.RefProcess(pid); home.containerOf(pid) == id {
			_ = ref.Kill(unix.SIGKILL)
		}
	}
}
