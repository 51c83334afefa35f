package engine

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"bryo/internal/images"
	"bryo/internal/linux"
	"bryo/internal/supervisor"
	"bryo/rootfs/image"
)

// Changes lists what a container changed of its image.
func (e *Engine) Changes(c *Container) ([]images.Change, error) {
	var result images.ChangesResult
	err := e.ofContainer(c, images.OpChanges, images.ChangesArgs{ID: c.ID}, &result)
	return result.Changes, err
}

// ofContainer runs an operation in a namespace of the container's own id map.
func (e *Engine) ofContainer(c *Container, op string, args, result any) error {
	if err := e.ready(); err != nil {
		return err
	}
	host := e.host()
	if c.Running() {
		host.Mapping = c.Mapping
	}
	return images.Call(host, op, args, result)
}

// Export writes a container's tree as an archive to out.
func (e *Engine) Export(c *Container, out *os.File) error {
	err := e.onTree(c, supervisor.TreeImage, images.OpExport, func(running bool) any {
		return images.ExportArgs{ID: c.ID, Running: running}
	}, nil, out)
	if err == nil {
		e.Announce(c, "export")
	}
	return err
}

// ExportTo is Export to a file, which is there when it is complete.
func (e *Engine) ExportTo(c *Container, path string) error {
	return linux.WriteWhole(path, func(out *os.File) error { return e.Export(c, out) })
}

// CommitOptions are those of commit.
type CommitOptions struct {
	Reference, Author, Message string
	Changes                    []string
	Pause                      bool
}

// Commit makes an image of a container's changes and returns its id. A running
// container stands still meanwhile, for exactly as long as this process lives.
func (e *Engine) Commit(c *Container, o CommitOptions) (string, error) {
	if strings.Contains(o.Reference, "@") {
		return "", errors.New("cannot import digest reference") // docker's words
	}
	if o.Reference != "" {
		if _, err := image.Normalize(o.Reference); err != nil {
			return "", err
		}
	}
	resume := func() {}
	if o.Pause {
		var err error
		if resume, err = e.hold(c); err != nil {
			return "", err
		}
	}
	var result images.CommitResult
	err := e.ofContainer(c, images.OpCommit, images.CommitArgs{
		ID: c.ID, Reference: o.Reference, Author: o.Author, Message: o.Message, Changes: o.Changes,
	}, &result)
	resume()
	if err != nil {
		return "", err
	}
	e.Announce(c, "commit", "comment", o.Message, "imageID", "sha256:"+result.ID, "imageRef", o.Reference)
	return result.ID, nil
}

// hold pauses the container until resume is called, or this process ends.
func (e *Engine) hold(c *Container) (resume func(), err error) {
	if !c.Running() {
		return func() {}, nil
	}
	control, err := e.dial(c)
	if err != nil {
		return func() {}, nil // it ended meanwhile
	}
	if err := control.Send(supervisor.Message{Hold: true}); err != nil {
		control.Close()
		return func() {}, nil
	}
	m, _, err := control.Receive()
	if err == nil && m.Failed != nil {
		err = m.Failed
	}
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("pause container %s: %w", c.Name, err)
	}
	return func() {
		defer control.Close()
		if m.Held && control.Send(supervisor.Message{Resume: true}) == nil {
			_, _, _ = control.Receive()
		}
	}, nil
}
