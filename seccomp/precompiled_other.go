//go:build !amd64 && !arm64

package seccomp

// There is no syscall table for this machine, and so nothing to precompile.
const (
	programs     = ""
	programsHash = ""
	defaultCaps  = ""
)

var variants = [...]variant{}
