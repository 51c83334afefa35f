package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/tree"
)

// StageOptions are what Stage needs beside the plan.
type StageOptions struct {
	// Volume turns a mount of type Volume into the bind or tmpfs that it is,
	// having made and filled the volume. Package volume's Store.Source fits.
	Volume func(Mount) (Mount, error)
	// UID and GID own what is mounted with U: the container's user, as numbers of
	// the user namespace that the caller is in.
	UID, GID uint32
	// Label and PrivateLabel are the SELinux labels for z and Z. Empty leaves the
	// labels alone: right unless the container runs under a label of its own.
	Label, PrivateLabel string
}

// Stage applies the plan as far as it can be applied outside the container's
// root: each source is pinned, checked, restricted and attached at a name of its
// own below dir, a directory that only this container uses. What it returns is
// for the runtime, in the plan's order: binds from those names, and tmpfs.
//
// Runs in the supervisor, in its private mount namespace. A plan without binds
// and volumes touches nothing.
func Stage(dir string, plan []Mount, o StageOptions) ([]specs.Mount, error) {
	var out []specs.Mount
	for i, m := range plan {
		if m.Type == Volume && o.Volume == nil {
			return nil, fmt.Errorf("mount %s: nobody resolves volume %s", m.Target, m.Source)
		}
		if m.Type == Volume {
			resolved, err := o.Volume(m)
			if err != nil {
				return nil, err
			}
			m = resolved
		}
		mounted, err := stageOne(filepath.Join(dir, strconv.Itoa(i)), m, o)
		if err != nil {
			return nil, err
		}
		out = append(out, mounted)
	}
	return out, nil
}

func stageOne(at string, m Mount, o StageOptions) (specs.Mount, error) {
	if m.Type == Tmpfs {
		options, err := tmpfsOptions(m.Tmpfs, m.ReadOnly)
		return specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: options}, err
	}
	p, err := m.pin()
	if err != nil {
		return specs.Mount{}, err
	}
	defer p.Close()
	if err := m.prepare(p, o); err != nil {
		return specs.Mount{}, err
	}
	if err := makePlace(at, p.IsDir()); err != nil {
		return specs.Mount{}, err
	}
	if err := p.Attach(at); err != nil {
		return specs.Mount{}, err
	}
	propagation := m.Propagation
	if propagation == "" {
		propagation = "rprivate"
	}
	return specs.Mount{Destination: m.Target, Type: "bind", Source: at, Options: []string{"rbind", string(propagation)}}, nil
}

func (m *Mount) pin() (*Pinned, error) {
	if m.Volume.Subpath != "" {
		return PinBelow(m.Source, m.Volume.Subpath, !m.Bind.NonRecursive)
	}
	return Pin(m.Source, !m.Bind.NonRecursive)
}

// prepare does to the pinned source what the options ask for. Owner and label
// first: a read-only mount takes neither.
func (m *Mount) prepare(p *Pinned, o StageOptions) error {
	if m.Target == "/proc" && !p.isProc() {
		return fmt.Errorf("%q cannot be mounted because it is not of type proc", m.Target)
	}
	if err := checkPropagation(m.Source, m.Propagation); err != nil {
		return err
	}
	if m.Chown {
		if err := tree.Chown(p.fd, o.UID, o.GID); err != nil {
			return fmt.Errorf("chown %s to %d:%d: %w", m.Source, o.UID, o.GID, err)
		}
	}
	if label := o.label(m.Relabel); label != "" && seLinux() {
		if err := tree.Label(p.fd, label); err != nil {
			return fmt.Errorf("relabel %s: %w", m.Source, err)
		}
	}
	return p.Set(m.attributes())
}

func (o StageOptions) label(option string) string {
	switch option {
	case "z":
		return o.Label
	case "Z":
		return o.PrivateLabel
	}
	return ""
}

// seLinux: the kernel mounts this only where SELinux is on.
func seLinux() bool {
	return unix.Access("/sys/fs/selinux/enforce", unix.F_OK) == nil
}

func (m *Mount) attributes() Attributes {
	a := Attributes{ReadOnly: m.ReadOnly, OnlyTop: m.Bind.WritableBelow, All: m.Bind.ReadOnlyForced}
	for _, flag := range m.Flags {
		switch flag {
		case "nosuid":
			a.NoSuid = true
		case "nodev":
			a.NoDev = true
		case "noexec":
			a.NoExec = true
		case "suid":
			a.Suid = true
		case "dev":
			a.Dev = true
		case "exec":
			a.Exec = true
		}
	}
	return a
}

func (p *Pinned) isProc() bool {
	var st unix.Statfs_t
	return unix.Fstatfs(p.fd, &st) == nil && st.Type == unix.PROC_SUPER_MAGIC
}

// makePlace makes an empty file or directory to mount on. What an earlier start
// of the same container left there is replaced; a mount of this very supervisor,
// which starts the container again, is taken off first.
func makePlace(at string, isDir bool) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return fmt.Errorf("stage mount: %w", err)
	}
	err := makeEmpty(at, isDir)
	if errors.Is(err, fs.ErrExist) {
		_ = unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err = os.Remove(at); err == nil {
			err = makeEmpty(at, isDir)
		}
	}
	if err != nil {
		return fmt.Errorf("stage mount: %w", err)
	}
	return nil
}

func makeEmpty(at string, isDir bool) error {
	if isDir {
		return os.Mkdir(at, 0o700)
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
