package supervisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// aptConfig keeps apt from becoming its own user for downloads: with one id it
// cannot, and unlike chown, whose failure is answered by the seccomp filter, apt
// looks whether it really changed.
const aptConfig = `// Written by bryo: this container has one user id, which apt cannot leave.
APT::Sandbox::User "root";
`

// Made tells of a file that a start makes in a container's tree and that is none of
// the container's own changes: a place to mount on, while it is empty, or the
// setting for apt, while it has content.
func Made(path, content string) bool {
	switch path {
	case "/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf":
		return content == ""
	}
	return path == "/"+aptDir+"/"+aptFile && content == aptConfig
}

const (
	aptDir  = "etc/apt/apt.conf.d"
	aptFile = "99-bryo-single-uid"
)

// adaptImage makes a fresh root usable with one id. An image without apt is left
// alone, and so is a file that is there already.
func (s *supervisor) adaptImage(root string) error {
	if !s.config.Mapping.Single || !s.status.Started.IsZero() {
		return nil
	}
	rootFD, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open container root: %w", err)
	}
	defer unix.Close(rootFD)
	dir, err := inroot.Open(rootFD, aptDir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, aptFile, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", aptDir, aptFile, err)
	}
	f := os.NewFile(uintptr(fd), aptFile)
	defer f.Close()
	_, err = f.WriteString(aptConfig)
	return err
}
