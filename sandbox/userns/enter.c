/*
 * Enters a new user and mount namespace before the Go runtime starts: the
 * kernel lets only a single-threaded process create a user namespace for
 * itself, and creating it here, not in clone(2) before execve, keeps the full
 * capability set that an execve with an unmapped uid would lose.
 *
 * The parent (userns.Start) passes a socket in _BRYO_USERNS, reads one int
 * (0 or errno), writes the id maps of this process and answers with one byte,
 * for which the Go side waits (userns.Ready): the runtime starts meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void bryo_enter_userns(void)
{
	const char *env = getenv("_BRYO_USERNS");
	int fd, result = 0;

	if (!env)
		return;
	fd = atoi(env);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		result = errno;
	if (write(fd, &result, sizeof result) != sizeof result || result)
		_exit(125);
}
