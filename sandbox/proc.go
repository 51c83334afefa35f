package sandbox

import _ "unsafe" // for go:linkname

// libcontainer reads /proc through a mount of its own, for fear of what a container may
// have mounted on it. To let go of that, the kernel waits for all processors, twice in a
// start. The supervisor's /proc is in a mount namespace that no container reaches: it is
// taken as it is, as on a kernel that has no such mounts. The container's first process,
// where the fear is justified, has its own.
//
//go:linkname hasNewMountAPI github.com/cyphar/filepath-securejoin/pathrs-lite/internal/linux.HasNewMountAPI
var hasNewMountAPI func() bool

func trustProc() { hasNewMountAPI = func() bool { return false } }
