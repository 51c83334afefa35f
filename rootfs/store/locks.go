package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// locks are byte ranges of one file (open file description locks, fcntl(2)): as
// many as there are layers without a file for each, and gone with the process.
//
// Order, to keep from deadlock: images.lock, then records.lock, then the storage
// library's own. A layer's lock is taken while none of these is held; its holder
// waits for layers below it only.
type locks struct{ path string }

// Ranges of the file. Layers' bytes lie behind these.
const (
	lockImports = 0 // shared by every import; exclusive to remove layers that no image has
	lockHeal    = 1 // exclusive while one process mends
	lockStaging = 2 // shared while the library makes a staging directory; exclusive to judge them
	lockReserve = 3 // shared by those who remove images; exclusive to take the space for it back
	lockLayers  = 1 << 20
)

func openLocks(root string) (*locks, error) {
	path := filepath.Join(root, "store.lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &locks{path}, file.Close()
}

func (l *locks) close() error { return nil }

// layerByte is the byte of a layer: 2^62 of them, so two layers never meet.
func layerByte(id string) int64 {
	sum := sha256.Sum256([]byte(id))
	return lockLayers + int64(binary.LittleEndian.Uint64(sum[:])>>2)
}

// take waits for the byte until ctx is done.
func (l *locks) take(ctx context.Context, at int64, exclusive bool) (unlock func(), err error) {
	if unlock, err = l.try(at, exclusive); unlock != nil || err != nil {
		return unlock, err
	}
	type result struct {
		unlock func()
		err    error
	}
	done := make(chan result, 1)
	go func() {
		unlock, err := l.lock(at, exclusive, unix.F_OFD_SETLKW)
		done <- result{unlock, err}
	}()
	select {
	case r := <-done:
		return r.unlock, r.err
	case <-ctx.Done():
		// The goroutine gets the lock some time later, or the process ends first.
		go func() {
			if r := <-done; r.unlock != nil {
				r.unlock()
			}
		}()
		return nil, ctx.Err()
	}
}

// try returns a nil unlock if another holds the byte.
func (l *locks) try(at int64, exclusive bool) (unlock func(), err error) {
	unlock, err = l.lock(at, exclusive, unix.F_OFD_SETLK)
	if err == unix.EAGAIN || err == unix.EACCES {
		return nil, nil
	}
	return unlock, err
}

func (l *locks) lock(at int64, exclusive bool, command int) (func(), error) {
	// A description of its own for each lock: those of one description never collide.
	file, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
	if exclusive {
		lock.Type = unix.F_WRLCK
	}
	for {
		err = unix.FcntlFlock(file.Fd(), command, &lock)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return func() { file.Close() }, nil
	}
	file.Close()
	if err == unix.EAGAIN || err == unix.EACCES {
		return nil, err
	}
	return nil, fmt.Errorf("lock %s: %w", l.path, err)
}
