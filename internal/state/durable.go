package state

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// What a power loss leaves of a file that was not synced is its name without its
// content. So an empty config is that of a container that was about to be made, and an
// empty status that of a run whose end nobody recorded. Waiting for the disk would cost
// a start more than all else: a container is synced when its program runs already.

// emptyError: nothing was ever written there, as far as the disk knows.
type emptyError struct {
	file    string
	written time.Time
}

func newEmpty(path string) error {
	e := &emptyError{file: filepath.Base(path)}
	if info, err := os.Lstat(path); err == nil {
		e.written = info.ModTime()
	}
	return e
}

func (e *emptyError) Error() string { return e.file + ": is empty" }

func lostStatus(at time.Time) *Status {
	return &Status{Phase: Exited, ExitCode: killedCode, Error: "state was lost", Started: at, Finished: at}
}

// Sync puts a container on disk, with its name and a copy of its config: from now on
// it is there after a power loss, and Restore can undo a damage.
func (d Dir) Sync(id string) {
	if c, err := d.Load(id); err == nil {
		_ = writeDurably(d.copyOf(id), c)
	}
	for _, path := range []string{filepath.Join(d.Path(id), "config.json"), d.Path(id), filepath.Dir(d.Path(id)), d.names()} {
		_ = syncPath(path)
	}
}

func syncPath(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.NewSyscallError("fsync", unix.Fsync(fd))
}

// saveConfig replaces a config, and its copy behind it.
func (d Dir) saveConfig(c *Config) error {
	if err := writeDurably(filepath.Join(d.Path(c.ID), "config.json"), c); err != nil {
		return err
	}
	_ = writeDurably(d.copyOf(c.ID), c)
	return nil
}

// writeDurably is writeJSON for what a power loss must not take back or make empty.
func writeDurably(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	if err := syncPath(temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// copyOf is the second copy of a config. A --rm container has none: nothing of it is
// there for long.
func (d Dir) copyOf(id string) string { return filepath.Join(d.Path(id), "config.copy") }

// Restore puts the copy of a config in the place of one that cannot be read. Copy says
// that there is one.
func (d Dir) Restore(id string) error {
	c, err := d.Copy(id)
	if err != nil {
		return err
	}
	return d.replace(id, "config.json", c)
}

// Copy reads the copy of a config.
func (d Dir) Copy(id string) (*Config, error) { return readConfig(d.copyOf(id), id) }

// ReplaceStatus writes a status in the place of whatever is there.
func (d Dir) ReplaceStatus(id string, s *Status) error { return d.replace(id, "status.json", s) }

// replace writes a state file whatever is in its place.
func (d Dir) replace(id, file string, v any) error {
	if err := d.putAside(id, file); err != nil {
		return err
	}
	return writeDurably(filepath.Join(d.Path(id), file), v)
}

// MakeRoom lets a supervisor write its status where something else has the place.
func (d Dir) MakeRoom(id string) error { return d.putAside(id, "status.json") }

// putAside renames a folder that has the place of a file: nothing of ours made it.
func (d Dir) putAside(id, file string) error {
	path := filepath.Join(d.Path(id), file)
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return nil
	}
	return os.Rename(path, path+".damaged")
}

// NeverMade: the container has a config, and nothing in it.
func (d Dir) NeverMade(id string) bool { return d.isEmpty(id, "config.json") }

func (d Dir) isEmpty(id, file string) bool {
	info, err := os.Lstat(filepath.Join(d.Path(id), file))
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// sweepLost deletes, once in each boot, the containers that the last one was about to
// make.
func (d Dir) sweepLost() {
	if !d.firstInBoot() {
		return
	}
	for _, id := range d.Lost() {
		if d.Restore(id) != nil {
			_ = d.Delete(id, "")
		}
	}
	_ = os.WriteFile(d.bootMark(), []byte(linux.BootID()+"\n"), 0o600)
}

// Lost lists the containers that a power loss left without a config. One with a status
// had been synced: what it wrote is not ours to delete.
func (d Dir) Lost() (lost []string) {
	if !d.firstInBoot() {
		return nil
	}
	ids, _ := d.IDs()
	for _, id := range ids {
		_, err := os.Lstat(filepath.Join(d.Path(id), "status.json"))
		_, copied := d.Copy(id)
		if d.NeverMade(id) && (copied == nil || errors.Is(err, fs.ErrNotExist) || d.isEmpty(id, "status.json")) {
			lost = append(lost, id)
		}
	}
	return lost
}

func (d Dir) bootMark() string { return filepath.Join(d.root, ".boot") }

// firstInBoot: nobody has looked yet what the last boot left.
func (d Dir) firstInBoot() bool {
	last, err := os.ReadFile(d.bootMark())
	return linux.BootID() != "" && (err != nil || strings.TrimSpace(string(last)) != linux.BootID())
}
