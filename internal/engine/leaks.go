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
	const mark = "/containers/"
	for rest := data; ; {
		at := bytes.Index(rest, []byte(mark))
		if at < 0 {
			return ""
		}
		id, _, _ := strings.Cut(string(rest[at+len(mark):min(len(rest), at+len(mark)+65)]), "/")
		// The path may begin at the root of its file system, not at ours.
		before := string(rest[bytes.LastIndexAny(rest[:at], " =:")+1 : at])
		if state.IsID(id) && before != "" && strings.HasSuffix(e.Root, before) {
			return id
		}
		rest = rest[at+len(mark):]
	}
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
