/*
 * The handler of the signals that a supervisor passes on. Go's own would lose one that it
 * has noticed and not handed out yet when the process rests: all that its threads hold
 * is gone then. This one writes it into a pipe, which stays.
 *
 * A process that has rested has it from here on, before there is a Go runtime. That unblocks
 * these signals as soon as it starts and ends the process at one that nobody has asked for
 * yet, a millisecond long. So the runtime does not get them: sigaction(3), through
 * which it installs its handlers (x_cgo_sigaction), is wrapped.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

int __real_sigaction(int sig, const struct sigaction *act, struct sigaction *old);

/* musl keeps the signal HUSH for what setuid and the like do in all threads. No thread of
 * ours calls them, and sigaction refuses it. */
#ifdef __GLIBC__
#define hush_action __real_sigaction
#else
int __libc_sigaction(int sig, const struct sigaction *act, struct sigaction *old);
#define hush_action __libc_sigaction
#endif

static const int passed[] = { SIGHUP, SIGINT, SIGTERM };
static int noted = -1; /* the pipe */

static void note(int sig)
{
	int before = errno;
	unsigned char b = (unsigned char)sig;

	if (write(noted, &b, 1) < 0) {
		/* It is full of such: one more says nothing new. */
	}
	errno = before;
}

static int is_passed(int sig)
{
	for (unsigned i = 0; i < sizeof passed / sizeof *passed; i++)
		if (passed[i] == sig)
			return 1;
	return 0;
}

int __wrap_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	if (noted >= 0 && is_passed(sig))
		act = NULL;
	return __real_sigaction(sig, act, old);
}

/* Called on the main thread, once. */
int bryo_note_signals(int fd)
{
	struct sigaction act = { .sa_handler = note, .sa_flags = SA_ONSTACK | SA_RESTART };
	sigset_t set;

	noted = fd;
	sigfillset(&act.sa_mask);
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof passed / sizeof *passed; i++) {
		if (__real_sigaction(passed[i], &act, NULL) < 0)
			return errno;
		sigaddset(&set, passed[i]);
	}
	return pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* rest.c has blocked them */
}

/*
 * A thread that has taken a signal and not yet come to the first instruction of its handler
 * would be ended by the execution with it. So all the others are made to block them
 * before: by a signal of our own to each, whose handler changes the mask that it
 * returns to. It cannot interrupt note(), which has all blocked: when all threads
 * have answered, all that was taken is in the pipe, and what comes now waits.
 */
#define HUSH 34 /* of the free ones the one that no thread of Go's blocks */

static atomic_int hushed;

static void hush(int sig, siginfo_t *info, void *context)
{
	ucontext_t *back = context;

	(void)sig;
	(void)info;
	for (unsigned i = 0; i < sizeof passed / sizeof *passed; i++)
		sigaddset(&back->uc_sigmask, passed[i]);
	atomic_fetch_add(&hushed, 1);
}

enum { MAX_THREADS = 512, PATIENCE = 200 /* ms */ };

/* Asks the threads that are not among the known n; the new n, or -1. */
static int ask_threads(int known[], int n)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *e;

	if (!tasks)
		return -1;
	while ((e = readdir(tasks))) {
		int tid = atoi(e->d_name), i = 0;
		while (i < n && known[i] != tid)
			i++;
		if (tid <= 0 || tid == getpid() || i < n)
			continue;
		if (n == MAX_THREADS) {
			n = -1;
			break;
		}
		if (syscall(SYS_tgkill, getpid(), tid, HUSH) == 0) /* else it has ended */
			known[n++] = tid;
	}
	closedir(tasks);
	return n;
}

/* Called on the main thread, which has them blocked; 0 when no other takes one any more. */
int bryo_hush_threads(void)
{
	struct sigaction act = { .sa_sigaction = hush, .sa_flags = SA_ONSTACK | SA_RESTART | SA_SIGINFO };
	struct timespec moment = { 0, 1000000 };
	int known[MAX_THREADS], n = 0, before;

	sigfillset(&act.sa_mask);
	atomic_store(&hushed, 0);
	if (hush_action(HUSH, &act, NULL) < 0)
		return -1;
	do {
		before = n;
		if ((n = ask_threads(known, n)) < 0)
			return -1;
		for (int i = 0; atomic_load(&hushed) < n; i++) {
			if (i == PATIENCE)
				return -1;
			nanosleep(&moment, NULL);
		}
	} while (n > before); /* there may be new ones */
	return 0;
}

/* _BRYO_REST is RECORD,BINARY,PIPE,… */
__attribute__((constructor)) static void bryo_wake(void)
{
	const char *list = getenv("_BRYO_REST");

	for (int i = 0; list && i < 2; i++)
		if ((list = strchr(list, ',')))
			list++;
	if (list && bryo_note_signals(atoi(list)))
		_exit(125);
}
