package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
		if err != nil {
			continue // gone meanwhile
		}
		if d.holds(holder, name) {
			return fmt.Errorf("%w: the container name %q is already in use by container %q", ErrNameTaken, name, holder)
		}
		d.Release(name, holder) // left by a container that is gone, or by a rename that was cut
	}
	return fmt.Errorf("%w: %q", ErrNameTaken, name)
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
	d.Release(old, c.ID)
	*c = *fresh
	return d.saveNames(c, name, "")
}

func (d Dir) saveNames(c *Config, name, renaming string) error {
	old := c.Name
	c.Name, c.Renaming = name, renaming
	if err := writeJSON(filepath.Join(d.Path(c.ID), "config.json"), c); err != nil {
		return fmt.Errorf("rename container %s: %w", old, err)
	}
	return nil
}

// Release frees the name of a container, if it still is its.
func (d Dir) Release(name, id string) {
	link := filepath.Join(d.names(), name)
	if holder, err := os.Readlink(link); err == nil && holder == id {
		os.Remove(link)
	}
}

// releaseNames frees the name of a container that is removed, and a second one
// that a cut rename left.
func (d Dir) releaseNames(id, name string) {
	if c, err := d.Load(id); name == "" || err == nil && c.Renaming != "" {
		d.releaseAll(id)
		return
	}
	d.Release(name, id)
}

// releaseAll frees the names of a container whose config cannot say them.
func (d Dir) releaseAll(id string) {
	names, _ := d.Names()
	for name, holder := range names {
		if holder == id {
			d.Release(name, id)
		}
	}
}
