package stack

import "golang.org/x/sys/unix"

// ownCalls are older calls that only this architecture has and Go's library uses.
var ownCalls = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_STAT, unix.SYS_ARCH_PRCTL}
