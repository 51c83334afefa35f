package mount

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Place mounts a file system of its own, as the runtime would, at target: a
// directory that nobody else can change. The flags are nosuid, nodev and noexec; all
// other options are the file system's.
func Place(target string, m specs.Mount) error {
	flags := uintptr(0)
	var data []string
	for _, option := range m.Options {
		switch option {
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		default:
			data = append(data, option)
		}
	}
	if err := unix.Mount(m.Source, target, m.Type, flags, strings.Join(data, ",")); err != nil {
		return fmt.Errorf("mount %s: %w", m.Destination, err)
	}
	return nil
}
