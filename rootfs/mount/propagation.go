package mount

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
)

// checkPropagation tells the user when slave or shared would not do what it says,
// because the mount that source lies on is private, or, for shared, because it
// belongs to a more privileged namespace that lets nothing back up.
func checkPropagation(source string, p Propagation) error {
	var want string
	switch p {
	case "shared", "rshared":
		want = "shared"
	case "slave", "rslave":
		want = "shared or slave"
	default:
		return nil
	}
	point, tags, err := mountOf(source)
	if err != nil {
		return fmt.Errorf("propagation of %s: %w", source, err)
	}
	isShared := strings.Contains(tags, "shared:")
	isSlave := strings.Contains(tags, "master:")
	if isShared || isSlave && want != "shared" {
		return nil
	}
	return fmt.Errorf("path %s is mounted on %s but it is not a %s mount", source, point, want)
}

// mountOf returns the mount point that path lies on and its propagation tags.
func mountOf(path string) (point, tags string, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return "", "", err
	}
	mounts, err := linux.Mounts("self")
	if err != nil {
		return "", "", err
	}
	id := strconv.FormatUint(st.Mnt_id, 10)
	for _, m := range mounts {
		if m.ID == id {
			return m.Point, m.Propagation, nil
		}
	}
	return "", "", unix.ENOENT
}
