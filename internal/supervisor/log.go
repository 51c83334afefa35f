package supervisor

import (
	"fmt"
	"os"
	"path/filepath"

	"bryo/internal/logs"
)

// logDir is where a container's log lies, in its directory.
const logDir = "log"

// openLog opens the container's log, nil when it keeps none. A foreground
// container that is removed at its end has no one to read it later: its files
// are handed over instead (docs/logs.md).
func (s *supervisor) openLog() (sink, error) {
	h := s.config.Host
	if h.Log.Driver == logs.None || s.start.Foreground && h.Remove {
		return nil, nil
	}
	config, err := h.Log.For(logs.Container{
		ID: s.config.ID, Name: s.config.Name, ImageID: s.config.Image.ID, Image: s.config.Image.Reference,
		Labels: h.Labels, Env: s.config.Process.Env,
	})
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	writer, err := logs.Open(filepath.Join(s.dir(), logDir), config)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &logSink{writer, map[string]*logs.Stream{
		logs.Stdout: writer.Stream(logs.Stdout), logs.Stderr: writer.Stream(logs.Stderr),
	}}, nil
}

// logSink adapts the log to what the pumps write to.
type logSink struct {
	writer  *logs.Writer
	streams map[string]*logs.Stream
}

func (l *logSink) Write(stream string, data []byte) { _, _ = l.streams[stream].Write(data) }

func (s *supervisor) closeLog() {
	l, ok := s.outputs.log.(*logSink)
	if !ok {
		return
	}
	for _, stream := range l.streams {
		stream.Finish()
	}
	if err := l.writer.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "bryo: close log:", err)
	}
}
