package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/events"
	"bryo/internal/linux"
	"bryo/rootfs/volume"
)

// How a container goes: it is withdrawn, which takes it out of sight at once, its end
// is told, it is deleted. Whoever is killed in between leaves a folder that says how
// far he got, and the next sweep goes on from there: nothing is told twice or never.

// ephemeral is the marker of a --rm container, and of one that is being made: one
// listing finds those that a kill -9 left behind.
func (d Dir) ephemeral(id string) string { return filepath.Join(d.root, "ephemeral", id) }

// withdrawn is where the directory of a container is deleted from.
func (d Dir) withdrawn(id string) string { return d.ephemeral(id) + removedSuffix }

const removedSuffix = ".removed"

// Withdraw is WithdrawLocked for a supervisor, which keeps the lock until it ends:
// until then no sweep takes over, and none tells the end a second time. What c says is
// what is on disk.
func (d Dir) Withdraw(c *Config) (string, error) {
	_, _ = d.lock(c.ID, unix.LOCK_EX|unix.LOCK_NB)
	if c.Name == "" || c.Renaming != "" {
		return d.WithdrawLocked(c.ID, c.Name)
	}
	return d.withdraw(c.ID, []string{c.Name})
}

// WithdrawLocked takes a container out of sight, in two system calls: nobody finds it
// any more and its name is free. The caller has its lock, which moves along, and
// announces the end. Delete does the rest, whenever; if nobody gets to it, the next
// sweep does. It returns where the directory is now.
func (d Dir) WithdrawLocked(id, name string) (string, error) {
	return d.withdraw(id, d.namesOf(id, name))
}

func (d Dir) withdraw(id string, names []string) (string, error) {
	dir := d.withdrawn(id)
	err := os.Rename(d.Path(id), dir)
	if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(d.ephemeral(""), 0o700) == nil {
		err = os.Rename(d.Path(id), dir)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		dir, err = d.Path(id), nil // no room for the name: it goes from where it is
	}
	if errors.Is(err, fs.ErrNotExist) { // another one was faster, and had the lock
		return "", fmt.Errorf("%w: %s", ErrNotFound, short(id))
	}
	if err != nil {
		return "", fmt.Errorf("remove container %s: %w", short(id), err)
	}
	d.release(names, id, dir)
	return dir, nil
}

// TakeVolumes has the anonymous volumes of a withdrawn container removed with it, as a
// --rm container's are.
func (d Dir) TakeVolumes(id string) error {
	c, err := loadConfig(d.withdrawn(id), id)
	if err != nil || c.Host.Remove || len(c.Volumes()) == 0 {
		return err
	}
	c.Host.Remove = true
	return writeJSON(filepath.Join(d.withdrawn(id), "config.json"), c)
}

// Mounted says what keeps a container from being deleted: something that is mounted
// in its directory. Behind it lie the user's own files.
func (d Dir) Mounted(id string) error { return unmounted(d.Path(id)) }

// Delete removes what is on disk of a container, its name last but one: the
// marker goes when there is nothing left to sweep. Files of other ids of the
// container can only be removed inside its user namespace.
func (d Dir) Delete(id, name string) error {
	if id == "" || id == "." || id == ".." || strings.ContainsRune(id, '/') {
		return fmt.Errorf("remove container %q: not an id", id) // it would be all of them
	}
	d.release(d.namesOf(id, name), id, "")
	for _, dir := range []string{d.Path(id), d.withdrawn(id)} {
		if err := removeTree(dir); err != nil {
			return fmt.Errorf("remove container %s: %w", short(id), err)
		}
	}
	os.Remove(d.ephemeral(id))
	return nil
}

// removeTree deletes dir, never through a mount. Without the mount table nothing is
// deleted.
func removeTree(dir string) error {
	if err := unmounted(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func unmounted(dir string) error {
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return nil // nothing is mounted below it
	}
	mounts, err := linux.MountsBelow(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(mounts) > 0 {
		err = fmt.Errorf("%s is mounted", mounts[0])
	}
	return err
}

// Abandoned lists the containers that nobody will remove any more: --rm and half-made
// ones whose maker and supervisor are gone, and all whose removal was cut short.
func (d Dir) Abandoned() []string {
	entries, err := os.ReadDir(d.ephemeral(""))
	if err != nil {
		return nil
	}
	var ids []string
	for i, e := range entries {
		id, removed := strings.CutSuffix(e.Name(), removedSuffix)
		switch {
		case !IsID(id) || removed && i > 0 && entries[i-1].Name() == id: // its marker comes before it
		case removed && !held(d.withdrawn(id), id), !removed && d.abandoned(id):
			ids = append(ids, id)
		}
	}
	return ids
}

func (d Dir) abandoned(id string) bool {
	var s Status
	if readJSON(filepath.Join(d.Path(id), "status.json"), &s) == nil && (s.Supervisor.Alive() || s.Init.Alive()) {
		return false
	}
	c, err := d.Load(id)
	if errors.Is(err, ErrNotFound) {
		// Between the marker and the config, or half removed.
		return d.makerGone(id) && !held(d.withdrawn(id), id)
	}
	return err != nil || !c.Creator.Alive()
}

// held: whoever withdrew the container is at work on it still.
func held(dir, id string) bool {
	release, err := lockDir(dir, id, unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		release()
	}
	return err != nil && !errors.Is(err, ErrNotFound)
}

// makerGone reads the marker: who made the container.
func (d Dir) makerGone(id string) bool {
	var creator linux.ProcessRef
	text, err := os.Readlink(d.ephemeral(id))
	return err == nil && (json.Unmarshal([]byte(text), &creator) != nil || !creator.Alive())
}

// Sweep deletes the abandoned containers. It runs inside a user namespace.
func (d Dir) Sweep() {
	d.sweepLost()
	for _, id := range d.Abandoned() {
		if c, err := d.Load(id); err == nil {
			d.sweep(c)
		} else if c, err := loadConfig(d.withdrawn(id), id); err == nil {
			d.sweepWithdrawn(c)
		} else {
			_ = d.Delete(id, "")
		}
	}
}

// sweep does all that the supervisor of a --rm container did not get to.
func (d Dir) sweep(c *Config) {
	release, err := d.lock(c.ID, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return // another one is at it
	}
	defer release()
	d.BuryLocked(c.ID)
	if _, err := d.WithdrawLocked(c.ID, c.Name); err == nil {
		d.clear(c)
	}
}

// sweepWithdrawn goes on where a removal was cut short.
func (d Dir) sweepWithdrawn(c *Config) {
	release, err := lockDir(d.withdrawn(c.ID), c.ID, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return
	}
	defer release()
	d.clear(c)
}

// clear tells the end of a withdrawn container before the last trace goes: whoever
// is killed in between leaves to the next one what he did not do.
func (d Dir) clear(c *Config) {
	d.AnnounceEnd(c)
	_ = d.DeleteWithVolumes(c)
}

// DeleteWithVolumes is Delete, before it the anonymous volumes of a container that
// takes them along. If one cannot be removed, who knows of it stays for the next sweep.
func (d Dir) DeleteWithVolumes(c *Config) error {
	if names := c.Volumes(); c.Host.Remove && len(names) > 0 {
		if err := volume.NewStore(d.root).RemoveAnonymous(names, d.VolumeUsers); err != nil {
			return err
		}
	}
	return d.Delete(c.ID, c.Name)
}

// DeleteWithdrawn is that for who knows the container by its id, withdrawn or not.
func (d Dir) DeleteWithdrawn(id, name string) error {
	if c, err := loadConfig(d.withdrawn(id), id); err == nil {
		return d.DeleteWithVolumes(c)
	}
	return d.Delete(id, name)
}

// AnnounceEnd records that a container is gone, if nobody has and if the journal knows
// of it: one whose maker was killed before it said so has never been there.
func (d Dir) AnnounceEnd(c *Config) {
	told, known := d.toldDestroyed(c)
	if told || !known && d.neverRan(c.ID) && c.makerCut() {
		return
	}
	d.Announce(c, "destroy")
}

// toldDestroyed: the journal has the end of the container, or anything of it.
func (d Dir) toldDestroyed(c *Config) (told, known bool) {
	o := events.Options{Since: time.Unix(1, 0), Until: time.Now(), Mentions: short(c.ID)}
	_ = events.Read(context.Background(), d.root, o, func(e *events.Event) error {
		if e.Type == events.Container && e.Actor.ID == c.ID {
			known, told = true, told || e.Action == "destroy"
		}
		return nil
	})
	return told, known
}

// youngest is how old a container may be for its creation to be missing from the
// journal because of a kill, and not because the journal has turned over.
const youngest = time.Hour

func (c *Config) makerCut() bool { return !c.Creator.Alive() && time.Since(c.Created) < youngest }

func (d Dir) neverRan(id string) bool {
	for _, dir := range []string{d.Path(id), d.withdrawn(id)} {
		if _, err := os.Lstat(filepath.Join(dir, "status.json")); err == nil {
			return false
		}
	}
	return true
}
