package engine

import (
	"fmt"
	"os"
	"runtime"

	"bryo/rootfs/image"
)

// warnOfPlatform says, in docker's words, that an image is for another machine,
// unless that was asked for. It may run all the same: binfmt_misc(5).
func warnOfPlatform(asked string, c *image.Config) {
	if asked != "" || c.Architecture == "" || runsHere(c) {
		return
	}
	fmt.Fprintf(os.Stderr, "WARNING: The requested image's platform (%s) does not match the detected host platform (linux/%s) and no specific platform was requested\n",
		c.Platform(), runtime.GOARCH)
}

// runsHere: kernels run the programs of their narrower relative as well.
func runsHere(c *image.Config) bool {
	system, arch, _ := image.NormalPlatform(c.OS, c.Architecture, c.Variant)
	narrower := map[string]string{"amd64": "386", "arm64": "arm"}[runtime.GOARCH]
	return (system == "" || system == "linux") && (arch == runtime.GOARCH || arch == narrower)
}
