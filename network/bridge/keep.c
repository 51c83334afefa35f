/*
 * The keeper: when the helper of a network is killed, by the kernel for want of
 * memory or by hand, it is started again at once. Nobody else could: the
 * supervisors that are attached live in user namespaces below.
 *
 * It splits off before the Go runtime starts, so it is one page of stack that
 * waits. The listening socket stays open in it: who connects meanwhile waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUICK 2 /* seconds: a helper that lived shorter did not work */
#define TRIES 5

__attribute__((constructor)) static void bryo_keep(void)
{
	int status, quick = 0;

	if (!getenv("_BRYO_KEEP"))
		return;
	unsetenv("_BRYO_KEEP");
	for (;;) {
		time_t began = time(NULL);
		pid_t pid = fork();

		if (pid < 0)
			_exit(125);
		if (pid == 0)
			return; /* the helper: on to Go's main */
		prctl(PR_SET_NAME, "bryo-keeper");
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				_exit(125);
		/* An exit code of its own choice is final; 2 is a panic of Go. */
		if (WIFEXITED(status) && WEXITSTATUS(status) != 2)
			_exit(WEXITSTATUS(status));
		quick = time(NULL) - began < QUICK ? quick + 1 : 0;
		if (quick >= TRIES)
			_exit(125);
		setenv("_BRYO_KEPT", "1", 1);
	}
}
