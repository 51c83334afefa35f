// Package engine joins the parts: it turns a request of the command line into
// an image record, a container directory and a supervisor, and reads back what
// became of it. It runs in the CLI process, outside every namespace.
//
// Start reading at Run. It neither parses flags nor prints results (package
// cli), and mounts nothing itself (package supervisor).
package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"bryo/internal/state"
	"bryo/sandbox/userns"
)

// Options of New.
type Options struct {
	Root  string // data directory; empty: the default of this user
	Debug bool
	Warn  func(line string) // one line for stderr, without the program's name
}

// Engine works on one data root.
type Engine struct {
	Root  string
	debug bool
	warn  func(string)

	mapOnce sync.Once
	idMap   userns.Mapping
	twin    *userns.Twin // forked for `run` before this process's runtime started
}

// New resolves the data root and refuses one that is not the user's alone. It
// creates nothing: `version` and `doctor` work without a usable home.
func New(o Options) (*Engine, error) {
	root := o.Root
	if root == "" {
		var err error
		if root, err = DefaultRoot(); err != nil {
			return nil, err
		}
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", o.Root, err)
	}
	if err := trusted(root); err != nil {
		return nil, err
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	return &Engine{Root: root, debug: o.Debug, warn: o.Warn}, nil
}

// DefaultRoot is $XDG_DATA_HOME/bryo, else ~/.local/share/bryo.
func DefaultRoot() (string, error) {
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "bryo"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", &RootError{Path: "~/.local/share/bryo", Err: errors.New("HOME is not set")}
	}
	return filepath.Join(home, ".local", "share", "bryo"), nil
}

// RootError: the data directory cannot be used; --root names another one.
type RootError struct {
	Path string
	Err  error
}

func (e *RootError) Error() string { return "data directory " + e.Path + ": " + e.Err.Error() }
func (e *RootError) Unwrap() error { return e.Err }

// ready creates the data root, or judges it again: it may have come since New.
func (e *Engine) ready() error {
	if err := os.MkdirAll(e.Root, 0o700); err != nil {
		return &RootError{e.Root, cause(err)}
	}
	if err := trusted(e.Root); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(e.Root, &st); err != nil {
		return &RootError{e.Root, err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return &RootError{e.Root, errors.New("not a directory")}
	case st.Mode&0o077 != 0:
		return os.Chmod(e.Root, 0o700)
	}
	return nil
}

func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (e *Engine) containers() state.Dir { return state.Open(e.Root) }

// shareImages takes images.lock shared: while it is held no image goes away.
// The lock dies with the process; nobody holds it while a container runs.
func (e *Engine) shareImages() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(e.Root, "images.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &RootError{e.Root, cause(err)}
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}
