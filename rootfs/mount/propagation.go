package mount

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
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

// mountOf returns the mount point that path lies on and its propagation tags, the
// optional fields of /proc/self/mountinfo; see proc_pid_mountinfo(5).
func mountOf(path string) (point, tags string, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return "", "", err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	id := fmt.Sprint(st.Mnt_id)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 6 && fields[0] == id {
			tags, _, _ := strings.Cut(strings.Join(fields[6:], " "), " - ")
			return fields[4], tags, nil
		}
	}
	return "", "", unix.ENOENT
}
