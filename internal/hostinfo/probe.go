package hostinfo

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ProbeRole is the role in which this binary runs Probe: the kernel allows the
// mounts that are tried here only inside a namespace of our own.
const ProbeRole = "probe"

// The environment variable by which this binary learns its role.
const envRole = "_BRYO_ROLE"

// The probes that Collect starts.
const (
	probeOverlay = "overlay"
	probeProc    = "proc"
)

// Probe tries one thing inside a user, mount and pid namespace of its own. The
// caller is the role dispatch: it prints the error on stderr and exits.
func Probe(name string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	switch name {
	case probeOverlay:
		return tryOverlay()
	case probeProc:
		return tryProc()
	}
	return fmt.Errorf("no probe %q", name)
}

// tryOverlay mounts an overlay of two empty layers on a tmpfs and deletes a
// file in it: the whiteout is what old kernels refuse.
func tryOverlay() error {
	// Any directory will do as the place for the tmpfs: nothing of it is seen
	// outside this mount namespace.
	dir := os.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lower/file"), nil, 0o600); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work,userxattr", dir)
	merged := filepath.Join(dir, "merged")
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	if err := os.Remove(filepath.Join(merged, "file")); err != nil {
		return fmt.Errorf("write a whiteout: %w", cause(err))
	}
	return nil
}

func tryProc() error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	return nil
}
