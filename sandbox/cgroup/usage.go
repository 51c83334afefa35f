package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a group used, and what it may use.
type Usage struct {
	CPU     time.Duration
	Memory  uint64 // bytes, without file pages that can go at any time
	Limit   uint64 // bytes; 0: no limit
	Tasks   int
	Read    uint64 // bytes from disk
	Written uint64
	// DiskKnown: the io controller counts for this group.
	DiskKnown bool
}

// Read reads the counters of a group. Only memory and tasks need controllers.
func Read(group string) (Usage, error) {
	dir := filepath.Join(mount, group)
	cpu, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return Usage{}, err
	}
	u := Usage{CPU: time.Duration(value(cpu, "usage_usec")) * time.Microsecond}
	used := number(dir, "memory.current")
	if stat, err := os.ReadFile(filepath.Join(dir, "memory.stat")); err == nil {
		u.Memory = used - min(used, value(stat, "inactive_file"))
	}
	u.Limit = number(dir, "memory.max")
	u.Tasks = int(min(number(dir, "pids.current"), math.MaxInt32))
	if io, err := os.ReadFile(filepath.Join(dir, "io.stat")); err == nil {
		u.Read, u.Written, u.DiskKnown = disk(string(io))
	}
	return u, nil
}

// Has: the group has a file of this controller, so it counts and limits.
func Has(group, file string) bool {
	_, err := os.Stat(filepath.Join(mount, group, file))
	return err == nil
}

// OutOfMemory counts the processes of a group that the kernel killed because its
// memory ran out.
func OutOfMemory(group string) uint64 {
	data, err := os.ReadFile(filepath.Join(mount, group, "memory.events"))
	if err != nil {
		return 0
	}
	return value(data, "oom_kill")
}

// value finds "key number" at the start of a line.
func value(data []byte, key string) uint64 {
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == key {
			n, _ := strconv.ParseUint(fields[1], 10, 64)
			return n
		}
	}
	return 0
}

// number reads a file of one number; "max" and an absent file are 0.
func number(dir, file string) uint64 {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// disk sums up "8:0 rbytes=1 wbytes=2 …" lines.
func disk(text string) (read, written uint64, known bool) {
	for field := range strings.FieldsSeq(text) {
		name, digits, _ := strings.Cut(field, "=")
		n, _ := strconv.ParseUint(digits, 10, 64)
		switch name {
		case "rbytes":
			read, known = read+n, true
		case "wbytes":
			written, known = written+n, true
		}
	}
	return read, written, known
}
