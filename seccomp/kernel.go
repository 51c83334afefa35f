package seccomp

import (
	"runtime"

	"bryo/internal/linux"
)

const hostArch = runtime.GOARCH

func runningKernel() (Kernel, error) {
	r, err := linux.RunningRelease()
	return Kernel{Major: r.Major, Minor: r.Minor}, err
}
