package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func ownerOf(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// process is a line of the process table; zombies count, as their parent
// forgot them.
type process struct {
	pid, parent int
	state, line string
}

// processes reads the whole table; every user may read these two files.
func processes() []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var table []process
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		b, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		// "12 (name with ) in it) S 1 …"
		end := strings.LastIndexByte(string(b), ')')
		fields := strings.Fields(string(b[end+1:]))
		if len(fields) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		args, _ := os.ReadFile(dir + "/cmdline")
		line := strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))
		if line == "" {
			line = string(b[:end+1])
		}
		table = append(table, process{pid, parent, fields[0], line})
	}
	return table
}

// descendants of this process, but for its own: this process is a subreaper, so
// orphans are among them. Orphans that ended are reaped on the way.
func descendants() []string {
	table := processes()
	family := []int{os.Getpid()}
	var out []string
	for found := true; found; {
		found = false
		for _, p := range table {
			if slices.Contains(family, p.parent) && !slices.Contains(family, p.pid) {
				family = append(family, p.pid)
				found = true
			}
		}
	}
	for _, p := range table {
		if p.pid == os.Getpid() || !slices.Contains(family, p.pid) || slices.Contains(ownProcesses, p.pid) {
			continue
		}
		if p.state == "Z" && p.parent == os.Getpid() {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil)
			continue
		}
		out = append(out, fmt.Sprintf("%d %s %s", p.pid, p.state, p.line))
	}
	return out
}

// endLeftovers keeps one script's mistakes from the next script.
func endLeftovers() {
	for _, line := range descendants() {
		pid, _ := strconv.Atoi(strings.Fields(line)[0])
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	descendants() // reap
}
