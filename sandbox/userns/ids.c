/*
 * setuid and setgid of the calling thread alone. libc has every thread make the call
 * too, by a signal and one after the other; musl gives up when a thread has another
 * number than it remembers, as the first one has after clone(2).
 * The only caller is libcontainer's init, in a thread of its own that executes the
 * program: its capabilities, too, are those of this thread.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

int __wrap_setuid(uid_t id)
{
	return syscall(SYS_setuid, id);
}

int __wrap_setgid(gid_t id)
{
	return syscall(SYS_setgid, id);
}
