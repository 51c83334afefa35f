// Package watch waits for something to change in a directory, by inotify(7),
// and where the host has no more of that, by looking often.
//
// A wait may end without a change and may be late by its bound: callers look
// again each time, and lose nothing if an event was missed.
package watch

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pollEvery is the pause between looks without inotify.
const pollEvery = 20 * time.Millisecond

// Dir watches the files directly in one directory, which may come into being
// later.
type Dir struct {
	path   string
	events *os.File // nil: polling
	buffer [4096]byte
}

// Start watches from now on. What is read after it and before Wait is not
// missed when it changes.
func Start(path string) *Dir {
	d := &Dir{path: path}
	d.start()
	return d
}

func (d *Dir) start() {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return // EMFILE: the user's instances are used up
	}
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, d.path, mask); err != nil {
		unix.Close(fd)
		return
	}
	d.events = os.NewFile(uintptr(fd), "inotify")
}

// Wait returns after a change, at the end of ctx, or after at most a time.
func (d *Dir) Wait(ctx context.Context, atMost time.Duration) {
	if d.events == nil {
		d.poll(ctx, min(atMost, pollEvery))
		return
	}
	_ = d.events.SetReadDeadline(time.Now().Add(atMost))
	stop := context.AfterFunc(ctx, func() { _ = d.events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = d.events.Read(d.buffer[:])
}

func (d *Dir) poll(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	// The directory may be there by now.
	d.start()
}

// Close ends watching.
func (d *Dir) Close() {
	if d.events != nil {
		d.events.Close()
	}
}
