package linux

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// MakeClaimed makes a directory as os.MkdirTemp does, with its maker's claim on it: a lock
// that ends with the process. Who sweeps claims before it deletes. claim is nil where the
// file system has no such locks: nobody can sweep there either.
func MakeClaimed(dir, pattern string) (path string, claim *os.File, err error) {
	for {
		if path, err = os.MkdirTemp(dir, pattern); err != nil {
			return "", nil, err
		}
		if claim, err = Claim(path, 0); !errors.Is(err, fs.ErrNotExist) {
			return path, claim, nil
		}
		// A sweep came between the two.
	}
}

// Claim locks a directory that is still there when it has the lock. how is 0, or
// unix.LOCK_NB for an error (EWOULDBLOCK) while another one has it.
func Claim(path string, how int) (*os.File, error) {
	folder, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(folder.Fd()), unix.LOCK_EX|how); err != unix.EINTR {
			break
		}
	}
	if err == nil {
		err = unix.Access(path, unix.F_OK)
	}
	if err != nil {
		folder.Close()
		return nil, &os.PathError{Op: "claim", Path: path, Err: err}
	}
	return folder, nil
}
