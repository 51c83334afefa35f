package state

import (
	"maps"

	"bryo/internal/events"
)

// Announce records in the journal what happened to a container, with docker's
// attributes: its labels, image and name, then the given pairs of key and value.
// It never fails and waits for nobody (package events).
func (d Dir) Announce(c *Config, action string, pairs ...string) {
	attributes := make(map[string]string, len(c.Host.Labels)+2+len(pairs)/2)
	maps.Copy(attributes, c.Host.Labels)
	attributes["image"], attributes["name"] = c.Image.Reference, c.Name
	for i := 0; i+1 < len(pairs); i += 2 {
		attributes[pairs[i]] = pairs[i+1]
	}
	events.Append(d.root, events.Event{
		Type: events.Container, Action: action, Actor: events.Actor{ID: c.ID, Attributes: attributes},
	})
}

// AnnounceVolumes records that a container mounted its volumes, or let go of
// them.
func (d Dir) AnnounceVolumes(c *Config, action string) { d.announceVolumes(c, action, nil) }

// announceVolumes leaves those out that are done.
func (d Dir) announceVolumes(c *Config, action string, done map[string]bool) {
	for _, m := range c.Host.Mounts {
		if m.Type != "volume" || m.Source == "" || done[m.Source] {
			continue
		}
		attributes := map[string]string{"container": c.ID, "driver": "local"}
		if action == "mount" {
			attributes["destination"], attributes["propagation"] = m.Target, ""
			attributes["read/write"] = map[bool]string{true: "false", false: "true"}[m.ReadOnly]
		}
		events.Append(d.root, events.Event{
			Type: events.Volume, Action: action, Actor: events.Actor{ID: m.Source, Attributes: attributes},
		})
	}
}

// AnnounceNetworks records that a run of a container was connected to its networks, or
// is no longer. The default one has the name that docker gives it.
func (d Dir) AnnounceNetworks(c *Config, action string) { d.announceNetworks(c, action, nil) }

// announceNetworks leaves those out that are done.
func (d Dir) announceNetworks(c *Config, action string, done map[string]bool) {
	for _, n := range c.Host.Networks {
		switch {
		case n.Name == NetworkDefault:
			n.ID, n.Name = DefaultNetworkID, ShownNetwork(n.Name)
		case !n.Defined():
			continue
		}
		if done[n.ID] {
			continue
		}
		events.Append(d.root, events.Event{
			Type: events.Network, Action: action,
			Actor: events.Actor{ID: n.ID, Attributes: map[string]string{"container": c.ID, "name": n.Name, "type": "bridge"}},
		})
	}
}
