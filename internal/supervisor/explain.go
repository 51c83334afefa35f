package supervisor

import (
	"errors"
	"fmt"

	"bryo/internal/state"
	"bryo/rootfs/mount"
	"bryo/sandbox"
)

// explain names what the user wrote where the sandbox knows only what was made of it.
func explain(h *state.Host, err error) error {
	var failed *sandbox.MountError
	if errors.As(err, &failed) {
		return explainMount(h, failed)
	}
	var limit *sandbox.LimitError
	if errors.As(err, &limit) && limit.Files {
		for _, l := range h.Ulimits {
			if l.Type == "RLIMIT_NOFILE" {
				return fmt.Errorf("--ulimit nofile=%d: %w", l.Soft, err)
			}
		}
	}
	return err
}

func explainMount(h *state.Host, failed *sandbox.MountError) error {
	m := mount.Find(h.Mounts, failed.Target)
	if m == nil || m.Type == mount.Tmpfs || m.Source == "" {
		return failed
	}
	if failed.Mistaken() { // docker's words
		return fmt.Errorf("mount %s on %s: %s: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type",
			m.Source, m.Target, failed.Cause)
	}
	return fmt.Errorf("mount %s on %s: %s", m.Source, m.Target, failed.Cause)
}
