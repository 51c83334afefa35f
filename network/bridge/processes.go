package bridge

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"bryo/internal/linux"
)

// Process is one that serves a network: its helper, or the helper's keeper.
type Process struct {
	linux.ProcessRef
	Network string
	Keeper  bool
}

// Processes finds those of this data root in /proc. What a container runs does not
// pass for one: it has a mount namespace of its own.
func (s *Store) Processes() (list []Process) {
	entries, _ := os.ReadDir("/proc")
	home, err := os.Stat(s.dir)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		ref := linux.RefProcess(pid)
		dir := servedBy(entry.Name())
		if dir == "" {
			continue
		}
		at, err := os.Stat(filepath.Dir(dir))
		if err != nil || !os.SameFile(home, at) || !ref.Alive() {
			continue
		}
		name, _ := os.ReadFile("/proc/" + entry.Name() + "/comm")
		list = append(list, Process{ref, filepath.Base(dir), string(bytes.TrimSpace(name)) == keeperName})
	}
	return list
}

// keeperName is what keep.c calls itself.
const keeperName = "bryo-keeper"

// servedBy is the folder of the network that a process serves; "": it is no helper.
func servedBy(pid string) string {
	line, err := os.ReadFile("/proc/" + pid + "/cmdline")
	words := bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0})
	if err != nil || len(words) != 3 || string(words[0]) != "bryo" || string(words[1]) != Role || !filepath.IsAbs(string(words[2])) {
		return ""
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if theirs, other := os.Readlink("/proc/" + pid + "/ns/mnt"); err != nil || other != nil || own != theirs {
		return ""
	}
	return string(words[2])
}

// Dismiss ends the helper of a network that nobody is attached to, which would linger
// for a moment. An error: somebody is connected. One that hangs stays, without.
func (s *Store) Dismiss(name string) error {
	lock, err := lockStart(s.Path(name))
	if err != nil {
		return nil // the network is gone
	}
	defer lock.Close()
	if err := retire(s.Path(name)); !errors.Is(err, errHangs) {
		return err
	}
	return nil
}

// AwaitGone waits for processes that are about to end, and returns those that stay.
func AwaitGone(list []Process) (left []Process) {
	for end := time.Now().Add(linger); ; time.Sleep(linger / 50) {
		left = nil
		for _, p := range list {
			if p.Alive() {
				left = append(left, p)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// Answers asks a network's helper for a name that nobody has: it answers at once, or hangs.
func (s *Store) Answers(name string) error {
	c, err := dial(s.Path(name))
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * linger))
	_, err = c.ask(message{Lookup: "."})
	return err
}
