package engine

import (
	"errors"
	"slices"
	"strings"

	"bryo/internal/events"
	"bryo/network/bridge"
	"bryo/rootfs/image"
	"bryo/rootfs/volume"
)

// Announce records in the journal what a command did with a container.
func (e *Engine) Announce(c *Container, action string, pairs ...string) {
	e.containers().Announce(c.Config, action, pairs...)
}

// announceImage records an event of an image; id is its digest or its name.
func (e *Engine) announceImage(action, id, name string) {
	events.Append(e.Root, imageEvent(action, id, name))
}

func imageEvent(action, id, name string) events.Event {
	attributes := map[string]string{}
	if name != "" {
		attributes["name"] = name
	}
	return events.Event{Type: events.Image, Action: action, Actor: events.Actor{ID: id, Attributes: attributes}}
}

// promise records what a removal is about to do, and tells what killed ones did. The
// caller calls done when he has told it.
func (e *Engine) promise(list []events.Event) (done func(error)) {
	e.KeepPromises()
	return events.Promise(e.Root, list, e.isGone)
}

// KeepPromises tells of the removals whose commands were killed before they did.
func (e *Engine) KeepPromises() { events.Keep(e.Root, e.isGone) }

// isGone: what the event says was removed is not there.
func (e *Engine) isGone(event *events.Event) bool {
	id := event.Actor.ID
	switch event.Type {
	case events.Volume:
		_, err := e.Volume(id)
		return errors.As(err, new(*volume.NotFoundError))
	case events.Network:
		_, err := e.networks().Find(id)
		return errors.As(err, new(*bridge.NotFoundError))
	case events.Image:
		return !slices.ContainsFunc(e.imageRemovals(), func(have events.Event) bool {
			return have.Action == event.Action && have.Actor.ID == id
		})
	}
	return false
}

// imageRemovals are the events of the removal of every image there is.
func (e *Engine) imageRemovals() (list []events.Event) {
	all, err := e.Images(image.Filter{})
	if err != nil {
		return nil
	}
	for _, s := range all {
		id := "sha256:" + s.ID
		list = append(list, imageEvent("delete", id, id))
		for _, name := range append(s.RepoTags[:len(s.RepoTags):len(s.RepoTags)], s.RepoDigests...) {
			list = append(list, imageEvent("untag", name, name))
		}
	}
	return list
}

// announceLines records what rmi and prune print: "untagged: …", "deleted: …".
func (e *Engine) announceLines(lines []string) {
	for _, line := range lines {
		what, name, _ := strings.Cut(line, ": ")
		switch strings.ToLower(what) {
		case "untagged":
			e.announceImage("untag", name, name)
		case "deleted":
			e.announceImage("delete", name, name)
		}
	}
}

func (e *Engine) announceVolume(action, name string) {
	events.Append(e.Root, volumeEvent(action, name))
}

func volumeEvent(action, name string) events.Event {
	return events.Event{
		Type: events.Volume, Action: action, Actor: events.Actor{ID: name, Attributes: map[string]string{"driver": "local"}},
	}
}
