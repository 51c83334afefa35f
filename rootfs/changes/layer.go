package changes

import (
	"archive/tar"
	"context"
	"io"
	"path"
	"time"

	"bryo/rootfs/files"
)

// Layer writes the changes as an image's layer, an uncompressed archive, and
// tells whether there was any. owner translates the ids on disk; nil keeps them.
func Layer(ctx context.Context, s Source, owner func(uid, gid uint32) (uint32, uint32), out io.Writer) (any bool, err error) {
	w := &files.Writer{Tar: tar.NewWriter(out), Owner: owner, Seconds: true}
	now := time.Now()
	err = Walk(ctx, s, func(c *Change) error {
		any = true
		if c.Implied {
			return nil
		}
		return unlessGone(write(w, c, now))
	})
	if err != nil {
		return any, err
	}
	return any, w.Close()
}

func write(w *files.Writer, c *Change, now time.Time) error {
	name := c.Path[1:]
	switch {
	case c.Kind == Deleted:
		return w.Mark(path.Join(path.Dir(name), whiteoutPrefix+path.Base(name)), now)
	case c.IsDir():
		if err := w.Dir(c.Dir, name, &c.Stat); err != nil || c.Kind != Replaced {
			return err
		}
		return w.Mark(name+"/"+whiteoutOpaque, now)
	}
	return w.Entry(c.Dir, c.Name, name, &c.Stat)
}
