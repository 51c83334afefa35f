package logs

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
)

// Printer is the Handler that prints as docker logs does, each stream of the
// container to its own writer. The two keep their order when they are the same
// terminal.
type Printer struct {
	Out, Err   io.Writer
	Timestamps bool
	Details    bool

	buffer  []byte // of one stream
	stream  stream
	inLine  [2]bool // the last entry of the stream had no newline
	attrs   []byte  // as in the log, of details
	details string
}

// stampLayout is RFC3339Nano with all nine digits, docker's.
const stampLayout = "2006-01-02T15:04:05.000000000Z07:00"

// Entry prints one entry. The pieces of a long line are put together again: only
// the first has a time before it.
func (p *Printer) Entry(e *Entry) error {
	s := stdout
	if e.Stream == Stderr {
		s = stderr
	}
	if s != p.stream || len(p.buffer) >= writeSize {
		if err := p.Flush(); err != nil {
			return err
		}
		p.stream = s
	}
	if !p.inLine[s] {
		p.prefix(e)
	}
	p.inLine[s] = !e.Whole()
	p.buffer = append(p.buffer, e.Text...)
	return nil
}

// Flush writes what is held.
func (p *Printer) Flush() error {
	if len(p.buffer) == 0 {
		return nil
	}
	to := p.Out
	if p.stream == stderr {
		to = p.Err
	}
	_, err := to.Write(p.buffer)
	p.buffer = p.buffer[:0]
	return err
}

func (p *Printer) prefix(e *Entry) {
	if p.Timestamps {
		p.buffer = append(e.Time.AppendFormat(p.buffer, stampLayout), ' ')
	}
	if p.Details {
		p.buffer = append(append(p.buffer, p.detailsOf(e)...), ' ')
	}
}

// detailsOf formats the attributes: k=v,k=v, escaped as in a URL. They are the
// same in all lines.
func (p *Printer) detailsOf(e *Entry) string {
	if string(e.attrs) == string(p.attrs) {
		return p.details
	}
	p.attrs = append(p.attrs[:0], e.attrs...)
	attrs := map[string]string{}
	_ = json.Unmarshal(e.attrs, &attrs)
	var pairs []string
	for _, key := range sorted(attrs) {
		pairs = append(pairs, url.QueryEscape(key)+"="+url.QueryEscape(attrs[key]))
	}
	p.details = strings.Join(pairs, ",")
	return p.details
}
