package events

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
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
// told those that did; or when he failed: then those that did all the same are told.
func Promise(root string, list []Event, happened func(*Event) bool) (done func(failed error)) {
	p := promise{linux.RefProcess(os.Getpid()), time.Now(), list}
	data, err := json.Marshal(p)
	if err != nil || len(list) == 0 {
		return func(error) {}
	}
	dir := filepath.Join(folder(root), promised)
	if os.MkdirAll(dir, 0o700) != nil {
		return func(error) {}
	}
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		return func(error) {} // a full disk: no command fails for an event
	}
	_, err = f.Write(data)
	f.Close()
	if err != nil {
		os.Remove(f.Name())
	}
	return func(failed error) {
		if failed != nil {
			p.tell(root, happened)
		}
		os.Remove(f.Name())
	}
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
	if pending := p.tell(root, happened); !pending || time.Since(p.At) > patience {
		os.Remove(path)
	}
}

// tell tells what has happened of a promise and was not told. pending: something has not
// happened yet.
func (p *promise) tell(root string, happened func(*Event) bool) (pending bool) {
	for i := range p.Events {
		e := &p.Events[i]
		switch {
		case told(root, e, p.At):
		case happened(e):
			Append(root, *e)
		default:
			pending = true
		}
	}
	return pending
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
