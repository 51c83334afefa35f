// Package processes reads the processes of a container from the host's /proc:
// who they are (List), a table of them as ps(1) prints it (Table), what they use
// (Usage). Nothing of the container is executed or opened for it, and all they
// say of themselves is a stranger's text.
//
// Start reading at List. It does not know containers: a first process goes in.
package processes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// Process is one entry of /proc, as of one moment.
type Process struct {
	PID     int
	UID     uint32 // effective, on the host
	GID     uint32
	Name    string   // comm
	Args    []string // empty for one that cleared them
	State   byte
	Parent  int
	Group   int
	Session int
	TTY     uint64
	Flags   uint64
	User    uint64 // clock ticks, as the next three
	System  uint64
	DeadUser,
	DeadSystem uint64 // of children that were waited for
	Priority int
	Nice     int
	Threads  int
	Start    uint64 // ticks since boot
	Virtual  uint64 // bytes
	Resident uint64 // bytes
	CPU      int    // that it ran on last
}

// ticks per second in /proc: USER_HZ, 100 on every architecture that Go knows.
const ticks = 100

// Census says which processes are in which pid namespace, at one moment: whoever
// looks at many containers goes through /proc once, not once for each.
type Census map[string][]int

// TakeCensus goes through /proc. What the reader may not look into is left out.
func TakeCensus() (Census, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	census := Census{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if namespace, err := os.Readlink(path(pid, "ns/pid")); err == nil {
			census[namespace] = append(census[namespace], pid)
		}
	}
	return census, nil
}

// List is Census.List of this moment.
func List(first int) ([]Process, error) {
	census, err := TakeCensus()
	if err != nil {
		return nil, err
	}
	return census.List(first)
}

// List reads the processes of the pid namespace that first is in, sorted by pid.
// Where that is the reader's own namespace too, it is first and its descendants.
func (c Census) List(first int) ([]Process, error) {
	namespace, err := os.Readlink(path(first, "ns/pid"))
	if err != nil {
		return nil, fmt.Errorf("read process %d: %w", first, err)
	}
	own, _ := os.Readlink("/proc/self/ns/pid")
	var list []Process
	for _, pid := range c[namespace] {
		if p, err := Read(pid); err == nil { // else it ended meanwhile
			list = append(list, p)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].PID < list[j].PID })
	if namespace == own {
		list = descendants(list, first)
	}
	return list, nil
}

func descendants(list []Process, first int) (kept []Process) {
	in := map[int]bool{first: true}
	for grown := true; grown; {
		grown = false
		for _, p := range list {
			if in[p.Parent] && !in[p.PID] {
				in[p.PID], grown = true, true
			}
		}
	}
	for _, p := range list {
		if in[p.PID] {
			kept = append(kept, p)
		}
	}
	return kept
}

func path(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// Read reads one process, see proc_pid_stat(5).
func Read(pid int) (Process, error) {
	data, err := os.ReadFile(path(pid, "stat"))
	if err != nil {
		return Process{}, err
	}
	p, err := parseStat(data)
	if err != nil {
		return Process{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	if err := p.readIDs(); err != nil {
		return Process{}, err
	}
	if words, err := os.ReadFile(path(pid, "cmdline")); err == nil && len(words) > 0 {
		p.Args = strings.Split(strings.TrimRight(string(words), "\x00"), "\x00")
	}
	return p, nil
}

// readIDs takes the effective ids: the owner of the folder is root for a process
// that may not be dumped.
func (p *Process) readIDs() error {
	data, err := os.ReadFile(path(p.PID, "status"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) < 2 {
			continue
		}
		id, err := strconv.ParseUint(fields[1], 10, 32)
		switch {
		case err != nil:
		case name == "Uid":
			p.UID = uint32(id)
		case name == "Gid":
			p.GID = uint32(id)
		}
	}
	return nil
}

// parseStat: the command name is the program's choice and may hold spaces and
// parentheses, so the fields are counted from the last parenthesis.
func parseStat(data []byte) (p Process, err error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return p, syscall.EINVAL
	}
	fields := strings.Fields(string(data[end+1:]))
	const last = 39 // the cpu
	if len(fields) <= last-3 || len(fields[0]) != 1 {
		return p, syscall.EINVAL
	}
	number := func(n int) uint64 {
		value, e := strconv.ParseInt(fields[n-3], 10, 64)
		if e != nil {
			big, e := strconv.ParseUint(fields[n-3], 10, 64)
			if e != nil {
				err = e
			}
			return big
		}
		return uint64(value)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:open])))
	if err != nil {
		return p, err
	}
	p = Process{
		PID: pid, Name: string(data[open+1 : end]), State: fields[0][0],
		Parent: int(number(4)), Group: int(number(5)), Session: int(number(6)), TTY: number(7), Flags: number(9),
		User: number(14), System: number(15), DeadUser: number(16), DeadSystem: number(17),
		Priority: int(int64(number(18))), Nice: int(int64(number(19))), Threads: int(number(20)), Start: number(22),
		Virtual: number(23), Resident: number(24) * uint64(os.Getpagesize()), CPU: int(number(39)),
	}
	return p, err
}

// Command is the command line, or the name in brackets.
func (p *Process) Command() string {
	if len(p.Args) == 0 || p.Args[0] == "" && len(p.Args) == 1 {
		text := "[" + p.Name + "]"
		if p.State == 'Z' {
			text += " <defunct>"
		}
		return text
	}
	return strings.Join(p.Args, " ")
}
