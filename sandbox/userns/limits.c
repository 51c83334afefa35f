/*
 * Limits under which the Go runtime cannot come up or go on: it would end with its own
 * trace, in twenty lines. Here one line says so, before it starts.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "args.h"

/* A start with all that a container may have takes 34 descriptors, and the runtime ends
 * when it gets none for its own. It reserves 780 MB of addresses, with its threads' stacks. */
enum { MIN_FILES = 64 /* with stdio */, MIN_ADDRESSES_MB = 900 };

static _Noreturn void refuse(int argc, char **argv, const char *what, unsigned long long have, unsigned long long need)
{
	fprintf(stderr, "bryo: %s: %llu are allowed, %llu are needed\n", what, have, need);
	_exit(argc > 1 && !strcmp(argv[1], "run") ? 125 : 1);
}

/* The roles run under the limits of the command, which has looked. */
static int is_role(char **envp)
{
	for (; *envp; envp++)
		if (!strncmp(*envp, "_BRYO_", 6) || !strncmp(*envp, "_LIBCONTAINER_", 14))
			return 1;
	return 0;
}

/* Whoever started a role had these blocked until here (linux.StartUnstopped). */
static void let_stop(void)
{
	sigset_t stops;

	sigemptyset(&stops);
	sigaddset(&stops, SIGTSTP);
	sigaddset(&stops, SIGTTIN);
	sigaddset(&stops, SIGTTOU);
	sigprocmask(SIG_UNBLOCK, &stops, NULL);
}

int bryo_argc;
char **bryo_argv, **bryo_envp;

/* glibc hands main's arguments to constructors, musl nothing: there they lie where the
 * kernel put them, in front of the environment and behind their number. That is so as long
 * as nobody has added to the environment. */
static void find_args(int argc, char **argv, char **envp)
{
#ifdef __GLIBC__
	bryo_argc = argc;
	bryo_argv = argv;
	bryo_envp = envp;
#else
	extern char **environ;

	(void)argc, (void)argv, (void)envp;
	bryo_envp = environ;
	for (bryo_argv = environ - 1; (long)bryo_argv[-1] != bryo_argc; bryo_argv--)
		bryo_argc++;
#endif
}

/* Before the constructor of enter.c, which forks. */
__attribute__((constructor(101))) static void check_limits(int argc, char **argv, char **envp)
{
	struct rlimit files, addresses;
	int first;

	find_args(argc, argv, envp);
	argc = bryo_argc;
	argv = bryo_argv;
	envp = bryo_envp;
	if (!argv || !envp)
		return;
	if (is_role(envp)) {
		let_stop();
		return;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || getrlimit(RLIMIT_AS, &addresses) < 0)
		return;
	first = fcntl(STDERR_FILENO, F_DUPFD, 0); /* what the caller left open counts as well */
	if (first >= 0)
		close(first);
	else
		first = 0;
	if (files.rlim_max + 3 < (rlim_t)first + MIN_FILES)
		refuse(argc, argv, "open files (ulimit -n)", files.rlim_max, (rlim_t)first + MIN_FILES - 3);
	if (addresses.rlim_cur >> 20 < MIN_ADDRESSES_MB)
		refuse(argc, argv, "megabytes of address space (ulimit -v)", addresses.rlim_cur >> 20, MIN_ADDRESSES_MB);
}

/* The linker puts this in the place of abort (Makefile). Who calls it has said in a line
 * what it lacks, mostly a thread; the runtime would answer with its registers. */
_Noreturn void __wrap_abort(void)
{
	_exit(125);
}

static struct sigaction runtimes; /* what the runtime does at SIGQUIT: a page of its own state */

/* The end by SIGQUIT, without the memory of a process that may know passwords. */
static void quit(int signo)
{
	struct rlimit none = { 0, 0 };
	struct sigaction end = { .sa_handler = SIG_DFL };

	setrlimit(RLIMIT_CORE, &none);
	sigaction(signo, &end, NULL);
	raise(signo);
}

void bryo_plain_quit(void)
{
	struct sigaction plain = { .sa_handler = quit, .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigfillset(&plain.sa_mask);
	sigdelset(&plain.sa_mask, SIGQUIT);
	sigaction(SIGQUIT, &plain, &runtimes);
}

void bryo_runtime_quit(void)
{
	if (runtimes.sa_flags)
		sigaction(SIGQUIT, &runtimes, NULL);
}
