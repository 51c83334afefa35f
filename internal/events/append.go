package events

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fileName = "events.log"
	oldName  = "events.log.1"
	lockName = "lock"

	// maxSize is when the file is put aside: with two files the last four
	// thousand events or more are kept.
	maxSize = 1 << 20
)

func folder(root string) string { return filepath.Join(root, "events") }

// Append writes an event to the journal of a data root. Its time is now unless
// it is set; status, id, from and scope follow from the rest. It fails silently:
// what happened has happened, whether it is told or not.
func Append(root string, e Event) {
	e.complete(time.Now())
	line, ok := e.encode()
	if !ok {
		return
	}
	dir := folder(root)
	// Twice, as between opening and writing the file may be put aside and
	// replaced: a journal that turns over within that moment.
	for range 2 {
		size, removed, err := appendLine(dir, line)
		if err != nil {
			return
		}
		if size > maxSize {
			rotate(dir)
		}
		if !removed {
			return
		}
	}
}

// appendLine writes one line. removed: to a file that nobody can read any more.
func appendLine(dir string, line []byte) (size int64, removed bool, err error) {
	f, err := openLog(dir)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	// unix.Write, as os.File writes the rest of a short write in a second call,
	// behind which another event may have come.
	if _, err := unix.Write(int(f.Fd()), line); err != nil {
		return 0, false, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return info.Size(), ok && stat.Nlink == 0, nil
}

func openLog(dir string) (*os.File, error) {
	const flags = unix.O_CREAT | unix.O_WRONLY | unix.O_APPEND
	path := filepath.Join(dir, fileName)
	f, err := openRegular(path, flags)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = os.MkdirAll(dir, 0o700)
	case err == nil || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
		return f, err
	default: // what nobody can write to is no journal
		err = os.Rename(path, path+damagedSuffix)
	}
	if err != nil {
		return nil, err
	}
	return openRegular(path, flags)
}

const damagedSuffix = ".damaged"

// hugeSize is what no journal of ours ever has: who finds one reads none of it.
const hugeSize = 64 * maxSize

var errDamaged = errors.New("is no journal")

// openRegular opens a file of the journal. It does not wait for the other end of a fifo,
// and follows no link.
func openRegular(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > hugeSize) {
		err = &fs.PathError{Op: "open", Path: path, Err: errDamaged}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// rotate puts the file aside in the place of the older one. Who does not get the
// lock at once leaves it to the one that has it.
func rotate(dir string) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	path := filepath.Join(dir, fileName)
	// Under the lock again: someone may have done it meanwhile.
	if info, err := os.Stat(path); err == nil && info.Size() > maxSize {
		_ = os.Rename(path, filepath.Join(dir, oldName))
	}
}
