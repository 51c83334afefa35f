package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// takeName claims a name by a symbolic link that holds the id: symlink(2) fails
// when it exists, so two creators cannot both win.
func (d Dir) takeName(name, id string) error {
	link := filepath.Join(d.names(), name)
	for range 8 {
		err := os.Symlink(id, link)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		holder, err := os.Readlink(link)
		if errors.Is(err, unix.EINVAL) { // no link: nobody of ours made it
			_ = os.Rename(link, filepath.Join(d.names(), ".damaged-"+name))
		}
		if err != nil {
			continue // gone meanwhile
		}
		if d.holds(holder, name) {
			return fmt.Errorf("%w. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", ErrNameTaken, "/"+name, holder)
		}
		d.Release(name, holder) // left by a container that is gone, or by a rename that was cut
	}
	return fmt.Errorf("%w. The container name %q is already in use", ErrNameTaken, "/"+name)
}

// holds says whether a name that points to a container is its own, or about to be.
func (d Dir) holds(id, name string) bool {
	c, err := d.Load(id)
	if err != nil {
		return !errors.Is(err, ErrNotFound)
	}
	if c.Renaming != name {
		return true
	}
	release, err := d.lock(id, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return true // the rename goes on
	}
	defer release()
	c, err = d.Load(id)
	return err == nil && c.Renaming != name
}

// Rename gives a container another name. The new one is taken first: there is no
// moment without a name. The config tells of the second name as long as there may
// be one, so that whoever is killed here leaves none that nobody frees.
func (d Dir) Rename(c *Config, name string) error {
	release, err := d.Lock(c.ID)
	if err != nil {
		return err
	}
	defer release()
	fresh, err := d.Load(c.ID)
	if err != nil {
		return err
	}
	if fresh.Renaming != "" { // of a rename that was cut
		d.Release(fresh.Renaming, c.ID)
	}
	old := fresh.Name
	if err := d.saveNames(fresh, old, name); err != nil {
		return err
	}
	err = d.takeName(name, c.ID)
	if err == nil {
		err = d.saveNames(fresh, name, old)
	}
	if err != nil {
		d.Release(name, c.ID)
		_ = d.saveNames(fresh, old, "")
		return err
	}
	if err := d.release([]string{old}, c.ID, ""); err != nil { // two names: back to the first
		if d.saveNames(fresh, old, name) == nil && d.release([]string{name}, c.ID, "") == nil {
			_ = d.saveNames(fresh, old, "")
		}
		return fmt.Errorf("rename container %s: %w", old, err)
	}
	*c = *fresh
	_ = d.saveNames(c, name, "") // the old name may be called a second one: nobody has it by that
	return nil
}

func (d Dir) saveNames(c *Config, name, renaming string) error {
	old := c.Name
	c.Name, c.Renaming = name, renaming
	if err := d.saveConfig(c); err != nil {
		return fmt.Errorf("rename container %s: %w", old, err)
	}
	return nil
}

// Release frees the name of a container, if it still is its.
func (d Dir) Release(name, id string) { _ = d.release([]string{name}, id, "") }

// release frees names under a lock of all names: two who look and then remove would
// take the name from a third, who has it since. With a grave the links are moved there, to
// be deleted with it: a file system may wait for the disk to give a link's block back.
func (d Dir) release(names []string, id, grave string) error {
	unlock := d.lockNames()
	defer unlock()
	var failed []error
	for _, name := range names {
		link := filepath.Join(d.names(), name)
		holder, err := os.Readlink(link)
		if err == nil && holder == id {
			err = discard(link, grave)
		}
		// What is no link is nobody's name.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EINVAL) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func discard(link, grave string) error {
	if grave != "" && os.Rename(link, filepath.Join(grave, "name."+filepath.Base(link))) == nil {
		return nil
	}
	return os.Remove(link)
}

// namesTime is how long the lock of the names is waited for: it is held for a few
// system calls, or by somebody who was stopped there.
const namesTime = time.Second

func (d Dir) lockNames() (unlock func()) {
	fd, err := unix.Open(d.names(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	for end := time.Now().Add(namesTime); unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return func() { unix.Close(fd) }
}

// namesOf are the names of a container that is removed: its own, a second one that a
// cut rename left, and all that point to it where its config cannot say.
func (d Dir) namesOf(id, name string) (list []string) {
	c, err := d.Load(id)
	if err != nil {
		c, err = loadConfig(d.withdrawn(id), id)
	}
	if name != "" && (err != nil || c.Renaming == "") {
		return []string{name}
	}
	names, _ := d.Names()
	for name, holder := range names {
		if holder == id {
			list = append(list, name)
		}
	}
	return list
}
