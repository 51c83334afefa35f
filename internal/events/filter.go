package events

import (
	"slices"
	"strings"

	"bryo/internal/format"
)

// ParseFilters reads the arguments of --filter, with docker's keys.
func ParseFilters(args []string) (format.Filters, error) {
	return format.ParseFilters(args, "config", "container", "daemon", "event", "image", "label", "label!",
		"network", "node", "plugin", "scope", "secret", "service", "type", "volume")
}

// Match applies docker's rules: ids and names match from their begin, the rest
// exactly.
func Match(f format.Filters, e *Event) bool {
	name := e.Actor.Attributes["name"]
	for _, key := range []string{"config", Container, Daemon, Network, "node", "plugin", "secret", "service", Volume} {
		if !f.MatchesPrefix(key, e.Actor.ID) && !f.MatchesPrefix(key, name) {
			return false
		}
	}
	return matchAction(f, e.Action) && matchImage(f, e) &&
		f.Matches("type", e.Type) && f.Matches("scope", e.Scope) && f.MatchesLabels(e.Actor.Attributes)
}

// matchAction: of actions that carry a value ("exec_create: sh", "health_status:
// healthy") the begin suffices, as soon as one of the filters is such an action.
func matchAction(f format.Filters, action string) bool {
	for _, withValue := range []string{"health_status", "exec_create", "exec_start"} {
		if slices.Contains(f["event"], withValue) {
			return f.MatchesPrefix("event", action)
		}
	}
	return f.Matches("event", action)
}

// matchImage takes events of the image and of containers made from it, with or
// without tag.
func matchImage(f format.Filters, e *Event) bool {
	name := e.Actor.Attributes["image"]
	if e.Type == Image {
		name = e.Actor.Attributes["name"]
	}
	for _, s := range []string{e.Actor.ID, name, withoutTag(e.Actor.ID), withoutTag(name)} {
		if f.Matches("image", s) {
			return true
		}
	}
	return false
}

// withoutTag cuts tag and digest off a reference; a port is none.
func withoutTag(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name = name[:at]
	}
	return name
}
