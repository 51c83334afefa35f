package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/internal/state"
)

// checkProcesses finds processes that live on the mounts of a container whose
// supervisor is gone.
func (e *Engine) checkProcesses() (found []Finding, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		ref := linux.RefProcess(pid)
		id := e.containerOf(pid)
		if id == "" || e.supervised(id) || !ref.Alive() {
			continue
		}
		command, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
		found = append(found, Finding{
			Object: fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(command))), What: "of container " + id[:12] + ", which does not run",
			Cure: "kill it",
			repair: func() error {
				if err := ref.Kill(unix.SIGKILL); err != nil && ref.Alive() {
					return err
				}
				return nil
			},
		})
	}
	return found, nil
}

// containerOf is the container of this data root whose files a process has
// mounted; empty for all others.
func (e *Engine) containerOf(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/mountinfo")
	if err != nil {
		return "" // not ours, or gone
	}
	home := locationOf(e.Root)
	for line := range bytes.Lines(data) {
		if id := home.container(string(line), e.Root); id != "" {
			return id
		}
	}
	return ""
}

// location is where a directory lies in its file system, in the terms of
// /proc/PID/mountinfo: a mount of a file below it names these, whatever it is
// called in the namespace of the mount.
type location struct{ device, path string }

// locationOf finds it by the mount that is nearest above dir.
func locationOf(dir string) (p location) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return p
	}
	nearest := -1
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		below, found := strings.CutPrefix(dir+"/", strings.TrimSuffix(point, "/")+"/")
		if found && len(point) >= nearest { // the later one hides the earlier
			nearest, p = len(point), location{fields[2], filepath.Join(unescape.Replace(fields[3]), below)}
		}
	}
	return p
}

// unescape undoes what the kernel does to names in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// container is the ID in a line of mountinfo: of a bind mount by its place, of an
// overlay by the name of its upper directory.
func (p location) container(line, root string) string {
	const mark = "/containers/"
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return ""
	}
	rest, found := strings.CutPrefix(unescape.Replace(fields[3]), strings.TrimSuffix(p.path, "/")+mark)
	if !found || fields[2] != p.device {
		if _, rest, found = strings.Cut(unescape.Replace(line), "upperdir="+root+mark); !found {
			return ""
		}
	}
	id, _, _ := strings.Cut(rest, "/")
	if !state.IsID(id) {
		return ""
	}
	return id
}

// supervised: somebody answers for the container's processes, or is about to.
func (e *Engine) supervised(id string) bool {
	config, err := e.containers().Load(id)
	if err != nil {
		return false
	}
	status, err := e.containers().RawStatus(id)
	return err == nil && status != nil && status.Supervisor.Alive() || config.Creator.Alive()
}

// killStrays ends the processes of a container whose state cannot be read.
func (e *Engine) killStrays(id string) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if ref := linux.RefProcess(pid); e.containerOf(pid) == id {
			_ = ref.Kill(unix.SIGKILL)
		}
	}
}
