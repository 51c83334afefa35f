// Package events is the journal of what happened to containers, images, volumes
// and networks: docker's events without a daemon.
//
// Every process of bryo appends (Append); any number of others read (Read) and
// wait for more. On disk it is <root>/events/events.log, one JSON object of
// docker's per line, and events.log.1, the file before it. A writer opens the
// file, writes one line with one write(2) and is done: nobody waits for a lock,
// and an event that cannot be written is dropped, as no command may fail for it.
//
// Start reading at Append and Read. What it leaves out: which events there are
// and when they happen, parsing of --since and --filter (package format).
package events

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mailru/easyjson/jwriter"

	"bryo/internal/codec"
)

// Types of events, docker's.
const (
	Container = "container"
	Image     = "image"
	Volume    = "volume"
	Network   = "network"
	Daemon    = "daemon"
)

// Event is one change, in docker's JSON shape.
type Event struct {
	// For containers and images, as older clients know it.
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`

	Type   string
	Action string
	Actor  Actor
	Scope  string `json:"scope,omitempty"`

	Time     int64 `json:"time,omitempty"`     // seconds since 1970
	TimeNano int64 `json:"timeNano,omitempty"` // nanoseconds since 1970
}

// Actor is what the event happened to.
type Actor struct {
	ID         string
	Attributes map[string]string // name, image, labels, exitCode, …
}

// At is the time of the event.
func (e *Event) At() time.Time { return time.Unix(0, e.TimeNano) }

// complete fills in what follows from the rest.
func (e *Event) complete(now time.Time) {
	if e.TimeNano == 0 {
		e.TimeNano = now.UnixNano()
	}
	e.Time = e.TimeNano / int64(time.Second)
	e.Scope = "local"
	if e.Type == Container || e.Type == Image {
		e.Status, e.ID = e.Action, e.Actor.ID
	}
	if e.Type == Container {
		e.From = e.Actor.Attributes["image"]
	}
}

// maxLine is the longest line that is written. write(2) to a file opened with
// O_APPEND is one step for other writers whatever its length; the bound keeps
// one container with huge labels from pushing out all other events.
const maxLine = 4096

// encode returns the line of an event, a newline at both ends: the first parts
// it from what a writer that ran out of space left behind.
func (e *Event) encode() ([]byte, bool) {
	line, err := marshal(e)
	if err != nil {
		return nil, false
	}
	if len(line)+1 > maxLine {
		shorter := *e
		shorter.Actor.Attributes = e.shortened(len(line) + 1 - maxLine)
		if line, err = marshal(&shorter); err != nil || len(line)+1 > maxLine {
			return nil, false
		}
	}
	return append([]byte{'\n'}, line...), true
}

// shortened leaves out attributes, the longest first, until the line is shorter
// by a number of bytes. Those that docker itself sets are short.
func (e *Event) shortened(surplus int) map[string]string {
	keys := make([]string, 0, len(e.Actor.Attributes))
	size := map[string]int{}
	kept := map[string]string{}
	for key, value := range e.Actor.Attributes {
		keys, kept[key], size[key] = append(keys, key), value, quoted(key)+quoted(value)+len(":,")
	}
	slices.SortFunc(keys, func(a, b string) int {
		if size[a] != size[b] {
			return size[b] - size[a]
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		if surplus <= 0 {
			break
		}
		delete(kept, key)
		surplus -= size[key] - 1
	}
	return kept
}

// quoted is the length of a JSON string.
func quoted(s string) int {
	w := jwriter.Writer{NoEscapeHTML: true}
	w.String(s)
	return w.Size()
}

// marshal returns the event as one line of JSON.
func marshal(e *Event) ([]byte, error) {
	line, err := codec.MarshalPlain(e)
	return append(line, '\n'), err
}

// MarshalEasyJSON writes what encoding/json would, the attributes in order.
func (e *Event) MarshalEasyJSON(w *jwriter.Writer) {
	w.RawByte('{')
	for _, f := range []struct {
		name, value string
		optional    bool
	}{
		{"status", e.Status, true}, {"id", e.ID, true}, {"from", e.From, true}, {"Type", e.Type, false}, {"Action", e.Action, false},
	} {
		if f.value != "" || !f.optional {
			w.RawString(`"` + f.name + `":`)
			w.String(f.value)
			w.RawByte(',')
		}
	}
	w.RawString(`"Actor":{"ID":`)
	w.String(e.Actor.ID)
	w.RawString(`,"Attributes":`)
	if e.Actor.Attributes == nil {
		w.RawString("null")
	} else {
		w.RawByte('{')
		for i, key := range slices.Sorted(maps.Keys(e.Actor.Attributes)) {
			if i > 0 {
				w.RawByte(',')
			}
			w.String(key)
			w.RawByte(':')
			w.String(e.Actor.Attributes[key])
		}
		w.RawByte('}')
	}
	w.RawByte('}')
	if e.Scope != "" {
		w.RawString(`,"scope":`)
		w.String(e.Scope)
	}
	if e.Time != 0 {
		w.RawString(`,"time":`)
		w.Int64(e.Time)
	}
	if e.TimeNano != 0 {
		w.RawString(`,"timeNano":`)
		w.Int64(e.TimeNano)
	}
	w.RawByte('}')
}
