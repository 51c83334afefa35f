package events

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"

	"bryo/internal/format"
)

// stampLayout is RFC3339Nano with all nine digits, docker's.
const stampLayout = "2006-01-02T15:04:05.000000000Z07:00"

// Print writes one event as docker events does: as text with an empty format,
// as JSON with "json", else by a template.
func Print(out io.Writer, template string, e *Event) error {
	switch template {
	case "":
		_, err := io.WriteString(out, e.String()+"\n")
		return err
	case "json":
		line, err := marshal(e)
		if err != nil {
			return err
		}
		_, err = out.Write(line)
		return err
	}
	var b bytes.Buffer
	if err := format.Inspect(&b, template, []any{e}); err != nil {
		return err
	}
	_, err := b.WriteTo(out)
	return err
}

// String is the line that docker prints, in local time. What comes from images
// and users is made safe for terminals.
func (e *Event) String() string {
	var b strings.Builder
	b.WriteString(e.At().Format(stampLayout))
	for _, word := range []string{e.Type, e.Action, e.Actor.ID} {
		b.WriteByte(' ')
		b.WriteString(format.Cell(word))
	}
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(e.Actor.Attributes)) {
		pairs = append(pairs, format.Cell(key)+"="+format.Cell(e.Actor.Attributes[key]))
	}
	if len(pairs) > 0 {
		b.WriteString(" (" + strings.Join(pairs, ", ") + ")")
	}
	return b.String()
}
