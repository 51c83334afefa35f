package state

import "bryo/rootfs/mount"

// Volumes names the volumes that the container mounts.
func (c *Config) Volumes() (names []string) {
	for _, m := range c.Host.Mounts {
		if m.Type == mount.Volume && m.Source != "" {
			names = append(names, m.Source)
		}
	}
	return names
}

// VolumeUsers lists the containers, running or not, that mount a volume. One
// whose config cannot be read counts: nothing it may need is removed.
func (d Dir) VolumeUsers(name string) (users []string, err error) {
	ids, err := d.IDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		c, err := d.Load(id)
		if err != nil {
			users = append(users, id)
			continue
		}
		for _, v := range c.Volumes() {
			if v == name {
				users = append(users, id)
				break
			}
		}
	}
	return users, nil
}
