package linux

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release is the first two numbers of a kernel's release, of which uname(2) tells.
type Release struct{ Major, Minor uint16 }

// RunningRelease is that of the kernel underneath.
func RunningRelease() (Release, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Release{}, fmt.Errorf("uname: %w", err)
	}
	return ParseRelease(unix.ByteSliceToString(uts.Release[:]))
}

// ParseRelease takes the first two numbers of a release such as "6.18.44-cloud" or
// "5.10+"; what follows them is the distribution's.
func ParseRelease(release string) (Release, error) {
	major, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, errA := strconv.ParseUint(major, 10, 16)
	b, errB := strconv.ParseUint(rest[:end], 10, 16)
	if errA != nil || errB != nil {
		return Release{}, fmt.Errorf("kernel release %q: want MAJOR.MINOR", release)
	}
	return Release{uint16(a), uint16(b)}, nil
}

// Before says whether r is older than major.minor.
func (r Release) Before(major, minor uint16) bool {
	return r.Major < major || r.Major == major && r.Minor < minor
}
