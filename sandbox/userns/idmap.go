package userns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOutdated: the maps that were written before this process had read what they shall
// be are others. They cannot be changed: it takes another process.
var ErrOutdated = errors.New("create user namespace: the ids have changed, start again")

// complete waits for the programs that are at work for process pid, does again what they
// could not, for the reason to be said, and sees to it that the maps are these.
func (m Mapping) complete(pid int, mappers [2]int) error {
	var written [2]bool
	for i, mapper := range mappers {
		written[i] = mapper != 0 && succeeded(mapper)
	}
	if !m.Single && !m.Direct {
		for i, ranges := range [][]Range{m.UIDs, m.GIDs} {
			if written[i] {
				continue
			}
			if err := runMapper(mapPrograms[i], pid, ranges); err != nil {
				return err
			}
		}
	}
	if !m.holds(pid) {
		return ErrOutdated
	}
	return nil
}

// holds: process pid has these very maps.
func (m Mapping) holds(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	return hasMap(dir+"uid_map", m.UIDs) && hasMap(dir+"gid_map", m.GIDs)
}

func hasMap(path string, ranges []Range) bool {
	text, err := os.ReadFile(path)
	return err == nil && strings.Join(strings.Fields(string(text)), " ") == words(ranges)
}

func words(ranges []Range) string { return strings.Join(strings.Fields(lines(ranges)), " ") }

// leaveNote writes what the next command's constructor passes to the two programs; see
// read_note in enter.c. Without a note Go does it, a little later.
func leaveNote(path string, m Mapping) {
	if path == "" || m.Single || m.Direct {
		return
	}
	uids, gids := stamp("/etc/subuid"), stamp("/etc/subgid")
	if uids == "" || gids == "" {
		return
	}
	text := fmt.Sprintf("1 %s %s\n%s\n%s\n", uids, gids, words(m.UIDs), words(m.GIDs))
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return
	}
	temporary := path + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return // no directory yet, or a full disk
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
	}
}

// stamp changes whenever the file does.
func stamp(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d.%d", st.Mtim.Sec, st.Mtim.Nsec, st.Size, st.Ino)
}

// succeeded waits for a child of this process.
func succeeded(pid int) bool {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err != unix.EINTR {
			return err == nil && status.Exited() && status.ExitStatus() == 0
		}
	}
}
