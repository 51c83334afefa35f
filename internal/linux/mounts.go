package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Mount is one line of a mount table, see proc_pid_mountinfo(5), its names without
// the kernel's escapes.
type Mount struct {
	ID          string
	Device      string // major:minor
	Root        string // the directory of the file system that is mounted
	Point       string
	Propagation string // "shared:1 master:2"
	Type        string // of the file system
	Options     string // of the file system
}

// Mounts reads the mount table of a process, in the order of mounting.
func Mounts(process string) ([]Mount, error) {
	table, err := os.ReadFile("/proc/" + process + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return ParseMounts(string(table))
}

// ParseMounts reads the text of a mount table. With an error come the lines before
// the one that it does not understand.
func ParseMounts(table string) (list []Mount, err error) {
	for line := range strings.Lines(table) {
		mount, system, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		m, s := strings.Split(mount, " "), strings.Split(system, " ") // a source may be empty
		if len(m) < 6 || len(s) < 3 {
			return list, fmt.Errorf("list mounts: line %q", line)
		}
		list = append(list, Mount{
			ID: m[0], Device: m[2], Root: unescape(m[3]), Point: unescape(m[4]),
			Propagation: strings.Join(m[6:], " "), Type: s[0], Options: unescape(s[2]),
		})
	}
	return list, nil
}

// MountsBelow lists the mount points at and below dir in the caller's mount
// namespace, in the order in which they were mounted. Who deletes a tree asks
// first: os.RemoveAll goes through a mount into what is mounted there.
// An error means that nobody knows.
func MountsBelow(dir string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	all, err := Mounts("self")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, m := range all {
		if m.Point == dir || strings.HasPrefix(m.Point, dir+"/") {
			found = append(found, m.Point)
		}
	}
	return found, nil
}

// unescape undoes the octal escapes of proc_pid_mountinfo(5).
func unescape(field string) string {
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
