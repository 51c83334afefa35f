package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MountsBelow lists the mount points at and below dir in the caller's mount
// namespace, in the order in which they were mounted. Who deletes a tree asks
// first: os.RemoveAll goes through a mount into what is mounted there.
// An error means that nobody knows.
func MountsBelow(dir string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		fields := strings.SplitN(line, " ", 6)
		if len(fields) < 6 {
			return nil, fmt.Errorf("list mounts: line %q", line)
		}
		if at := mountPoint(fields[4]); at == dir || strings.HasPrefix(at, dir+"/") {
			found = append(found, at)
		}
	}
	return found, nil
}

// mountPoint undoes the octal escapes of proc_pid_mountinfo(5).
func mountPoint(field string) string {
	if !strings.Contains(field, `\`) {
		return field
	}
	var b strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) {
			if n, err := strconv.ParseUint(field[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(field[i])
	}
	return b.String()
}
