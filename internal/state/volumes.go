package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"bryo/rootfs/mount"
)

// Volumes names the volumes that the container mounts.
func (c *Config) Volumes() (names []string) {
	for _, m := range c.Host.Mounts {
		if m.Type == mount.Volume && m.Source != "" {
			names = append(names, m.Source)
		}
	}
	return names
}

// VolumeUsers lists the containers, running or not, that mount a volume. One of which
// nobody can tell counts: nothing it may need is removed unasked.
func (d Dir) VolumeUsers(name string) (users []string, err error) {
	return d.volumeUsers(name, func(string) bool { return true })
}

// VolumeUsersKnown is that for who names the volume to be removed: a container that
// cannot be read counts only if it may be running. No other one's damage shall keep a user
// from his own volumes.
func (d Dir) VolumeUsersKnown(name string) (users []string, err error) {
	return d.volumeUsers(name, func(id string) bool {
		s, err := d.RawStatus(id)
		return err != nil || s != nil && (s.Supervisor.Alive() || s.Init.Alive())
	})
}

func (d Dir) volumeUsers(name string, counts func(id string) bool) (users []string, err error) {
	ids, err := d.IDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		c, err := d.Load(id)
		if err != nil {
			c, err = d.Copy(id)
		}
		if err != nil && d.comesOrGoes(id) {
			continue
		}
		if err != nil && counts(id) || err == nil && slices.Contains(c.Volumes(), name) {
			users = append(users, id)
		}
	}
	return users, nil
}

// comesOrGoes: a container without a config that is being made, and has a claim of its own
// on its volumes, or that another process has withdrawn meanwhile.
func (d Dir) comesOrGoes(id string) bool {
	_, err := os.Lstat(filepath.Join(d.Path(id), "config.json"))
	if !errors.Is(err, fs.ErrNotExist) && !d.NeverMade(id) {
		return false
	}
	_, err = os.Lstat(d.Path(id))
	marker, _ := os.Lstat(d.ephemeral(id))
	status, unread := d.RawStatus(id)
	return errors.Is(err, fs.ErrNotExist) || marker != nil && status == nil && unread == nil
}
