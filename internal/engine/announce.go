package engine

import (
	"strings"

	"bryo/internal/events"
)

// Announce records in the journal what a command did with a container.
func (e *Engine) Announce(c *Container, action string, pairs ...string) {
	e.containers().Announce(c.Config, action, pairs...)
}

// announceImage records an event of an image; id is its digest or its name.
func (e *Engine) announceImage(action, id, name string) {
	attributes := map[string]string{}
	if name != "" {
		attributes["name"] = name
	}
	events.Append(e.Root, events.Event{
		Type: events.Image, Action: action, Actor: events.Actor{ID: id, Attributes: attributes},
	})
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
	events.Append(e.Root, events.Event{
		Type: events.Volume, Action: action, Actor: events.Actor{ID: name, Attributes: map[string]string{"driver": "local"}},
	})
}
