package processes

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a container's processes use, as far as /proc tells. What ended
// and was waited for is in the time of its parent; its reads and writes are gone.
type Usage struct {
	CPU      time.Duration // so far
	Memory   uint64        // bytes: shared pages are counted in parts
	Tasks    int           // threads
	Read     uint64        // bytes from disk
	Written  uint64
	Received uint64 // bytes, of all links but loopback
	Sent     uint64
}

// Used sums up what the processes of a container use.
func (c Census) Used(first int) (Usage, error) {
	list, err := c.List(first)
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for _, p := range list {
		u.CPU += time.Duration(p.User+p.System+p.DeadUser+p.DeadSystem) * time.Second / ticks
		u.Memory += memory(&p)
		u.Tasks += p.Threads
		read, written := disk(p.PID)
		u.Read, u.Written = u.Read+read, u.Written+written
	}
	u.Received, u.Sent = Network(first)
	return u, nil
}

// memory is the proportional set size where the kernel says it.
func memory(p *Process) uint64 {
	data, err := os.ReadFile(path(p.PID, "smaps_rollup"))
	if err == nil {
		if kilobytes, ok := keyed(data, "Pss:"); ok {
			return kilobytes * 1024
		}
	}
	return p.Resident
}

func disk(pid int) (read, written uint64) {
	data, err := os.ReadFile(path(pid, "io"))
	if err != nil {
		return 0, 0
	}
	read, _ = keyed(data, "read_bytes:")
	written, _ = keyed(data, "write_bytes:")
	return read, written
}

// keyed finds "KEY VALUE" at the start of a line.
func keyed(data []byte, key string) (uint64, bool) {
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key {
			value, err := strconv.ParseUint(fields[1], 10, 64)
			return value, err == nil
		}
	}
	return 0, false
}

// Network sums up the links of the network namespace that a process is in.
func Network(pid int) (received, sent uint64) {
	data, err := os.ReadFile(path(pid, "net/dev"))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(data)) {
		name, counters, found := strings.Cut(line, ":")
		fields := strings.Fields(counters)
		if !found || strings.TrimSpace(name) == "lo" || len(fields) < 9 {
			continue
		}
		in, _ := strconv.ParseUint(fields[0], 10, 64)
		out, _ := strconv.ParseUint(fields[8], 10, 64)
		received, sent = received+in, sent+out
	}
	return received, sent
}

// HostMemory is MemTotal in bytes; 0 when /proc hides it.
func HostMemory() uint64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	kilobytes, _ := keyed(data, "MemTotal:")
	return kilobytes * 1024
}
