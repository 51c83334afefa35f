package events

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// promised is the folder of what is about to happen. Who removes something says so
// first, and takes it back when it is told: whoever is killed in between leaves a
// promise, and the next one tells what has happened of it (Keep).
const promised = "promised"

// patience with a promise whose maker is gone, as what he started may be at work still.
const patience = time.Minute

type promise struct {
	Maker  linux.ProcessRef
	At     time.Time
	Events []Event
}

// Promise records events that are about to happen. The caller calls done when he has
// told those that did.
func Promise(root string, list []Event) (done func()) {
	p := promise{linux.RefProcess(os.Getpid()), time.Now(), list}
	data, err := json.Marshal(p)
	if err != nil || len(list) == 0 {
		return func() {}
	}
	dir := filepath.Join(folder(root), promised)
	if os.MkdirAll(dir, 0o700) != nil {
		return func() {}
	}
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		return func() {} // a full disk: no command fails for an event
	}
	_, err = f.Write(data)
	f.Close()
	if err != nil {
		os.Remove(f.Name())
	}
	return func() { os.Remove(f.Name()) }
}

// Keep tells what killed makers had promised, as far as it has happened and was not told.
func Keep(root string, happened func(*Event) bool) {
	dir := filepath.Join(folder(root), promised)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		keep(root, filepath.Join(dir, entry.Name()), happened)
	}
}

func keep(root, path string, happened func(*Event) bool) {
	f, err := openRegular(path, unix.O_RDWR)
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return // another one is at it
	}
	var p promise
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		err = json.NewDecoder(f).Decode(&p)
	}
	if err == nil && p.Maker.Alive() || p.At.IsZero() && err == nil && time.Since(info.ModTime()) < patience {
		return
	}
	left := slices.DeleteFunc(p.Events, func(e Event) bool { return told(root, &e, p.At) })
	for i := range left {
		if happened(&left[i]) {
			Append(root, left[i])
		}
	}
	if pending := slices.ContainsFunc(left, func(e Event) bool { return !happened(&e) }); !pending || time.Since(p.At) > patience {
		os.Remove(path)
	}
}

// told: the journal has the event since then.
func told(root string, e *Event, since time.Time) (found bool) {
	o := Options{Since: since, Until: time.Now(), Mentions: e.Actor.ID}
	_ = Read(context.Background(), root, o, func(have *Event) error {
		found = found || have.Type == e.Type && have.Action == e.Action && have.Actor.ID == e.Actor.ID
		return nil
	})
	return found
}
