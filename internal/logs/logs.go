// Package logs keeps what containers print, as docker's log drivers do, without
// a daemon: json-file, local, journald and none.
//
// One process per container writes (Open, Writer.Stream, Writer.Copy); any
// number of others read (Read, Printer), also while it is written, across
// rotation and after the writer died at any point. Neither waits for the other.
//
// On disk a log is a directory of files container.log.1, container.log.2, …,
// the highest being written, and container.log, a link to it. A rotated file
// keeps its number for ever, so that a follower that was at number 7 goes on
// with number 8 whatever has happened meanwhile; with a chain of renames it
// could not tell. The lines are docker's:
//
//	{"log":"text\n","stream":"stdout","attrs":{"k":"v"},"time":"2026-01-02T15:04:05.999999999Z"}
//
// Start reading at Stream.Write (splitting), file.entry (writing) and Read.
// What it leaves out: where a container's log directory is, when a container
// ends, reading from the journal (a copy is kept in files, see Config.Cache).
package logs

import (
	"reflect"
	"time"
)

// Driver names, docker's.
const (
	JSONFile = "json-file"
	Local    = "local"
	Journald = "journald"
	None     = "none"
)

// Streams that a container writes to.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// maxChunk is the longest text of one entry, docker's: a longer line becomes
// several entries, of which all but the last lack the newline. It bounds the
// memory that a line without end can take.
const maxChunk = 16 << 10

// Config is a log driver with its options, as Parse reads them. It can be
// stored as JSON.
type Config struct {
	Driver  string            `json:"driver"`
	Options map[string]string `json:"options,omitempty"` // as given, for inspect

	MaxSize  int64 `json:"maxSize,omitempty"` // bytes; 0: no rotation
	MaxFile  int   `json:"maxFile,omitempty"` // files kept, the current one counted
	Compress bool  `json:"compress,omitempty"`

	// NonBlocking passes output through a queue of Buffer bytes and drops
	// what does not fit: the container waits for no disk.
	NonBlocking bool  `json:"nonBlocking,omitempty"`
	Buffer      int64 `json:"buffer,omitempty"` // bytes

	// NoCache keeps no copy in files of what goes to the journal: no command
	// can show it then.
	NoCache bool `json:"noCache,omitempty"`

	// Filled by For: what is said of each entry.
	Attrs     map[string]string `json:"attrs,omitempty"` // shown by --details
	Tag       string            `json:"tag,omitempty"`
	Container Container         `json:"container,omitzero"`
}

// IsZero says that nothing was asked for.
func (c Config) IsZero() bool { return reflect.ValueOf(c).IsZero() }

// Container is what the options tag, labels and env refer to.
type Container struct {
	ID      string            `json:"id,omitempty"` // 64 hex digits
	Name    string            `json:"name,omitempty"`
	ImageID string            `json:"imageID,omitempty"`
	Image   string            `json:"image,omitempty"` // as the user typed it
	Labels  map[string]string `json:"-"`
	Env     []string          `json:"-"` // KEY=value
}

// IsZero says that nothing is known of the container.
func (c Container) IsZero() bool { return reflect.ValueOf(c).IsZero() }

// InFiles tells whether there are files that Read can read.
func (c Config) InFiles() bool {
	return c.Driver != None && !(c.Driver == Journald && c.NoCache)
}

// Kept is how many files the log may have; 0: any number.
func (c Config) Kept() int {
	if c.MaxSize == 0 {
		return 0
	}
	return c.MaxFile
}

// clock is time.Now, but in tests.
type clock func() time.Time
