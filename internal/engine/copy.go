package engine

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/supervisor"
	"bryo/rootfs/files"
)

// CopyOptions are those of cp.
type CopyOptions struct {
	Follow  bool // -L
	Archive bool // -a
}

// treeOf asks the supervisor of a running container for its root; nil when the
// container does not run: then the role mounts the tree itself.
func (e *Engine) treeOf(c *Container, which string) (*os.File, error) {
	if !c.Running() {
		return nil, nil
	}
	control, err := e.dial(c)
	if err != nil {
		return nil, nil // it ended meanwhile
	}
	defer control.Close()
	if err := control.Send(supervisor.Message{Tree: which}); err != nil {
		return nil, nil
	}
	m, handed, err := control.Receive()
	if err == nil && m.Failed != nil {
		err = m.Failed
	}
	if err == nil && len(handed) != 1 {
		err = errors.New("no root came along")
	}
	if err != nil {
		return nil, fmt.Errorf("supervisor of container %s: %w", c.Name, err)
	}
	return handed[0], nil
}

// onTree runs an operation of the image role on a container's tree.
func (e *Engine) onTree(c *Container, which, op string, args func(running bool) any, stdin, stdout *os.File) error {
	if err := e.ready(); err != nil {
		return err
	}
	tree, err := e.treeOf(c, which)
	if err != nil {
		return err
	}
	host := e.host()
	host.Stdin, host.Stdout = stdin, stdout
	if tree != nil {
		defer tree.Close()
		host.Files, host.Mapping = []*os.File{tree}, c.Mapping
	}
	return images.Call(host, op, args(tree != nil), nil)
}

// ArchiveOut writes an archive of a path in the container to out.
func (e *Engine) ArchiveOut(c *Container, path string, o CopyOptions, out *os.File) error {
	err := e.onTree(c, supervisor.TreeInside, images.OpCopyOut, func(running bool) any {
		return images.CopyArgs{ID: c.ID, Path: path, Running: running, Follow: o.Follow, Bare: true}
	}, nil, out)
	return e.copied(c, "archive-path", err)
}

// CopyOut copies a path in the container to this host and returns the size of the
// files. They belong to whoever calls.
func (e *Engine) CopyOut(ctx context.Context, c *Container, path, to string, o CopyOptions) (size int64, err error) {
	in, out, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() {
		done <- e.onTree(c, supervisor.TreeInside, images.OpCopyOut, func(running bool) any {
			return images.CopyArgs{ID: c.ID, Path: path, Running: running, Follow: o.Follow}
		}, nil, out)
		out.Close()
	}()
	err = unpackTo(ctx, in, to, func(n int64) { size += n })
	in.Close()
	theirs := <-done
	if cut := new(cutOff); err == nil || theirs != nil && errors.As(err, &cut) {
		err = theirs // the role knows why its stream ended
	}
	return size, e.copied(c, "archive-path", err)
}

// cutOff marks an error of a stream that ended too early.
type cutOff struct{ error }

func (c *cutOff) Unwrap() error { return c.error }

// unpackTo puts what comes from a container at a path of this host.
func unpackTo(ctx context.Context, in *os.File, to string, copied func(int64)) error {
	stream := bufio.NewReaderSize(in, 256<<10)
	line, err := stream.ReadBytes('\n')
	var source images.Copied
	if err == nil {
		err = json.Unmarshal(line, &source)
	}
	if err != nil {
		return &cutOff{err}
	}
	target, err := files.Host().Target(to)
	if err != nil {
		return err
	}
	defer target.Close()
	place, err := target.Place(source.Name, source.Dir)
	if err != nil {
		return err
	}
	err = files.Extract(ctx, tar.NewReader(stream), place, files.ExtractOptions{Copied: copied})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &cutOff{err}
	}
	return err
}

// ArchiveIn unpacks an archive at a directory in the container.
func (e *Engine) ArchiveIn(c *Container, in *os.File, path string, o CopyOptions) error {
	err := e.onTree(c, supervisor.TreeInside, images.OpCopyIn, func(running bool) any {
		return images.CopyArgs{ID: c.ID, Path: path, Running: running, Archive: o.Archive}
	}, in, nil)
	return e.copied(c, "extract-to-dir", err)
}

// CopyIn copies a path of this host into the container.
func (e *Engine) CopyIn(ctx context.Context, c *Container, from, path string, o CopyOptions) (size int64, err error) {
	source, err := files.Host().Source(from, o.Follow)
	if err != nil {
		return 0, err
	}
	defer source.Close()
	in, out, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	packed := make(chan error, 1)
	counted := &counter{w: out}
	go func() {
		packed <- files.Pack(ctx, counted, source.FD, source.Name, nil)
		out.Close()
	}()
	err = e.onTree(c, supervisor.TreeInside, images.OpCopyIn, func(running bool) any {
		return images.CopyArgs{ID: c.ID, Path: path, Running: running, Archive: o.Archive, Name: source.Name, Dir: source.Dir}
	}, in, nil)
	in.Close()
	if ours := <-packed; ours != nil && !errors.Is(ours, os.ErrClosed) && !brokenPipe(ours) {
		err = ours
	}
	return counted.n, e.copied(c, "extract-to-dir", err)
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// copied records a copy under the name that docker's daemon gives it, and the one
// that docker's documentation lists.
func (e *Engine) copied(c *Container, action string, err error) error {
	if err == nil {
		e.Announce(c, action)
		e.Announce(c, "copy")
	}
	return err
}

// brokenPipe: the role ended first, and says why.
func brokenPipe(err error) bool { return errors.Is(err, unix.EPIPE) }
