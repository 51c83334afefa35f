package seccomp

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const hostArch = runtime.GOARCH

// runningKernel reads the version from uname(2).
func runningKernel() (Kernel, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Kernel{}, fmt.Errorf("uname: %w", err)
	}
	return parseRelease(unix.ByteSliceToString(uts.Release[:]))
}

// parseRelease takes the first two numbers of a release such as
// "6.18.44-cloud" or "5.10+"; what follows them is the distribution's.
func parseRelease(release string) (Kernel, error) {
	major, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, errA := strconv.ParseUint(major, 10, 16)
	b, errB := strconv.ParseUint(rest[:end], 10, 16)
	if errA != nil || errB != nil {
		return Kernel{}, fmt.Errorf("kernel release %q: want MAJOR.MINOR", release)
	}
	return Kernel{Major: uint16(a), Minor: uint16(b)}, nil
}
