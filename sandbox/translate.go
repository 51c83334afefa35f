package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// MountError: a mount of the spec was not made in the container.
type MountError struct {
	Target  string
	Options string // those that the file system judges; empty for a bind
	Cause   string
}

func (e *MountError) Error() string {
	if e.Options != "" {
		return fmt.Sprintf("mount on %s with %s: %s", e.Target, e.Options, e.Cause)
	}
	return fmt.Sprintf("mount on %s: %s", e.Target, e.Cause)
}

// Mistaken: a directory was to cover a file, or a file a directory.
func (e *MountError) Mistaken() bool { return e.Cause == unix.ENOTDIR.Error() }

// LimitError: the container has too few descriptors, or processes, for its own start.
type LimitError struct {
	Err   error
	Files bool // or else processes
}

func (e *LimitError) Error() string {
	if e.Files {
		return "too few open files are allowed for a container to start"
	}
	return "too few processes are allowed (ulimit -u, or a control group's pids.max) for a container to start"
}
func (e *LimitError) Unwrap() error { return e.Err }

// translate is an error of libcontainer without what it says of its own descriptors and
// paths, which mean nothing to a user. What happened in init came through a pipe as
// text, so there is no more than text to look at; what is not known stays as it is.
func translate(err error, root *specs.Root) error {
	switch {
	case errors.Is(err, unix.EMFILE) || strings.HasSuffix(err.Error(), unix.EMFILE.Error()):
		return &LimitError{err, true}
	case errors.Is(err, unix.EAGAIN) || strings.Contains(strings.ToLower(err.Error()), unix.EAGAIN.Error()):
		return &LimitError{err, false} // clone(2) says so
	}
	text := err.Error()
	if root != nil && len(root.Path) > 1 {
		text = strings.ReplaceAll(text, root.Path, "")
	}
	for _, prefix := range []string{"unable to start container process: ", "error during container init: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	cause := text[strings.LastIndex(text, ": ")+1:]
	cause = strings.TrimSpace(cause)
	if rest, found := strings.CutPrefix(text, "error mounting "); found {
		return &MountError{Target: quoted(rest, " to rootfs at "), Options: between(rest, ", data=", ": "+cause), Cause: cause}
	}
	if rest, found := strings.CutPrefix(text, "open sysctl "); found {
		name, _, _ := strings.Cut(rest, " file: ")
		return fmt.Errorf("sysctl %s: %s", name, cause)
	}
	if rest, found := strings.CutPrefix(text, "failed to write sysctl "); found {
		setting, _, _ := strings.Cut(rest, ": write ")
		return fmt.Errorf("sysctl %s: %s", setting, cause)
	}
	if text != err.Error() { // what was said of inside is text alone
		return fmt.Errorf("start container: %s", text)
	}
	return fmt.Errorf("start container: %w", err)
}

// quoted is the quoted word that follows mark in text.
func quoted(text, mark string) string { return between(text, mark+`"`, `"`) }

func between(text, from, to string) string {
	_, rest, found := strings.Cut(text, from)
	if !found {
		return ""
	}
	inner, _, _ := strings.Cut(rest, to)
	return inner
}
