/*
 * Enters a new user and mount namespace before the Go runtime starts: the
 * kernel lets only a single-threaded process create a user namespace for
 * itself, and creating it here, not in clone(2) before execve, keeps the full
 * capability set that an execve with an unmapped uid would lose.
 *
 * The parent (userns.Start) passes a socket in _BRYO_USERNS, reads an
 * answer, writes the id maps of this process and answers with one byte,
 * for which the Go side waits (userns.Ready): the runtime starts meanwhile.
 *
 * `bryo run` forks its supervisor here, before either has a Go runtime: the two
 * start side by side, and no second execve is paid for (twin.go). What the
 * child inherits is the same as after execve: three descriptors of stdio, our two,
 * no variable but those that are named below.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "args.h"

enum { SOCKET_FD = 3, CONTROL_FD = 4 }; /* socketFD and FirstFile in userns.go */

int bryo_twin_pid;	   /* in the command: its twin, 0 without one */
int bryo_twin_socket = -1; /* and the sockets to it */
int bryo_twin_control = -1;
int bryo_is_twin; /* in the twin */
long long bryo_began; /* CLOCK_MONOTONIC, nanoseconds */

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int bryo_keyring; /* the session keyring is the shared one */

/* What a new process says of its namespace: begun in userns.go. */
struct answer {
	int error; /* 0 or errno */
	int mapper[2]; /* newuidmap and newgidmap, already at work, 0: not */
};

static struct answer answer;
static int mappers_wait = -1; /* closed when they may begin */

static void enter(int fd)
{
	const char *join = getenv("_BRYO_JOIN");
	int flags = CLONE_NEWUSER | CLONE_NEWNS;

	prctl(PR_SET_NAME, "bryo", 0, 0, 0); /* not that of the descriptor it was executed from */

	/* The user's session keyring stays behind: one key for all supervisors.
	 * Before the user namespace, which has names of its own (keyrings(7)). */
	long key = syscall(__NR_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, "_bryo");
	bryo_keyring = key >= 0;
	/* The next one of this user finds it by its name only if he may search it. */
	if (key >= 0)
		syscall(__NR_keyctl, 5 /* KEYCTL_SETPERM */, key, 0x3f1b0000);
	if (join) { /* a user namespace that is there, another container's */
		if (setns(atoi(join), CLONE_NEWUSER) < 0)
			answer.error = errno;
		close(atoi(join));
		flags = CLONE_NEWNS;
	}
	if (!answer.error && unshare(flags) < 0)
		answer.error = errno;
	if (mappers_wait >= 0)
		close(mappers_wait);
	if (write(fd, &answer, sizeof answer) != sizeof answer || answer.error)
		_exit(125);
}

/* Above stdio, also when the user closed that. */
static int above(int fd, int least)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, least);
	close(fd);
	return moved;
}

static int pair(int type, int fds[2])
{
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		fds[i] = above(fds[i], CONTROL_FD + 1);
	return fds[0] < 0 || fds[1] < 0 ? -1 : 0;
}

static void close_from(int fd)
{
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
	if (syscall(__NR_close_range, fd, ~0u, 0) == 0)
		return;
	for (int end = (int)sysconf(_SC_OPEN_MAX); fd < end; fd++)
		close(fd);
}

/* Nothing of the user's environment stays: it may hold secrets, and a detached
 * supervisor lives for long. The strings are wiped, not only the pointers. */
static void forget_environment(char **envp)
{
	static char none[] = "_=", role[] = "_BRYO_ROLE=supervisor";

	for (char **e = envp; *e; e++) {
		if (!strncmp(*e, "PATH=", 5) || !strncmp(*e, "BRYO_TRACE=", 11))
			continue;
		memset(*e, 0, strlen(*e));
		*e = none;
	}
	for (char **e = envp; *e; e++)
		if (*e == none) {
			*e = role;
			return;
		}
	_exit(125); /* forkable() has seen a variable that can go */
}

/* What ps shows. The kernel reads the words where execve put them. */
static void take_name(int argc, char **argv)
{
	static const char name[] = "bryo\0supervisor";
	size_t room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);

	memset(argv[0], 0, room);
	memcpy(argv[0], name, sizeof name - 1 < room ? sizeof name - 1 : room);
}

/*
 * The id maps are written while both runtimes start, when the last command has left
 * word what they were (idmap.go): "1 STAMP STAMP" of the two files they come from, and
 * the arguments of newuidmap and newgidmap, a line each. Go compares what they wrote
 * with what it wants, and does what is missing here.
 */
static int read_note(char *text, size_t room)
{
	const char *root = getenv("BRYO_ROOT"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	char path[4096];
	struct stat st;
	int fd, n;

	if (root && root[0] == '/')
		n = snprintf(path, sizeof path, "%s/idmap", root);
	else if (data && data[0] == '/')
		n = snprintf(path, sizeof path, "%s/bryo/idmap", data);
	else if (home && home[0] == '/')
		n = snprintf(path, sizeof path, "%s/.local/share/bryo/idmap", home);
	else
		return 0;
	if (n >= (int)sizeof path || (fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) < 0)
		return 0;
	n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ?
		    (int)read(fd, text, room - 1) :
		    -1;
	close(fd);
	if (n <= 0 || n == (int)room - 1)
		return 0;
	text[n] = 0;
	return 1;
}

/* The same words as stamp in idmap.go. */
static int stamp(char *to, size_t room, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return 0;
	return snprintf(to, room, "%lld.%ld.%lld.%llu", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			(long long)st.st_size, (unsigned long long)st.st_ino);
}

static int is_current(const char *line)
{
	char uids[128], gids[128], want[280];

	if (!stamp(uids, sizeof uids, "/etc/subuid") || !stamp(gids, sizeof gids, "/etc/subgid"))
		return 0;
	snprintf(want, sizeof want, "1 %s %s", uids, gids);
	return !strcmp(line, want);
}

/* A child of the command's, as only that is in the namespace they have to be in. It
 * waits until ours is made. */
static int start_mapper(const char *program, char *ranges, int wait)
{
	enum { MOST = 64 };
	char pid[16], *argv[MOST + 3] = { (char *)program, pid };
	int n = 2, null;
	long child;

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	for (char *word = strtok(ranges, " "); word && n < MOST + 2; word = strtok(NULL, " "))
		argv[n++] = word;
	child = syscall(__NR_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (child != 0)
		return child < 0 ? 0 : (int)child;
	close(mappers_wait);
	while (read(wait, pid + sizeof pid - 1, 1) < 0 && errno == EINTR)
		;
	null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close_from(3);
	execvp(program, argv);
	_exit(1);
}

static void start_mappers(void)
{
	char text[2048], *uids, *gids, *end;
	int wait[2];

	if (geteuid() == 0 || !read_note(text, sizeof text) || !(uids = strchr(text, '\n')))
		return;
	*uids++ = 0;
	if (!is_current(text) || !(gids = strchr(uids, '\n')))
		return;
	*gids++ = 0;
	if (!(end = strchr(gids, '\n')) || pipe2(wait, O_CLOEXEC) < 0)
		return;
	*end = 0;
	mappers_wait = wait[1];
	answer.mapper[0] = start_mapper("newuidmap", uids, wait[0]);
	answer.mapper[1] = start_mapper("newgidmap", gids, wait[0]);
	close(wait[0]);
}

static void become_twin(int argc, char **argv, char **envp, int socket, int control)
{
	bryo_is_twin = 1;
	dup2(socket, SOCKET_FD);
	dup2(control, CONTROL_FD);
	close_from(CONTROL_FD + 1);
	setsid();
	if (chdir("/") < 0)
		_exit(125);
	start_mappers();
	take_name(argc, argv);
	forget_environment(envp);
	enter(SOCKET_FD);
}

/* Only the plain spelling: any other line starts its supervisor by execve. */
static int forkable(int argc, char **argv, char **envp)
{
	int removable = 0;

	if (argc < 3 || strcmp(argv[1], "run"))
		return 0;
	for (char **e = envp; *e; e++) {
		if (!strncmp(*e, "_BRYO_", 6) || !strncmp(*e, "_LIBCONTAINER_", 14))
			return 0;
		removable += strncmp(*e, "PATH=", 5) && strncmp(*e, "BRYO_TRACE=", 11);
	}
	return removable > 0;
}

static void fork_twin(int argc, char **argv, char **envp)
{
	int socket[2], control[2];

	if (pair(SOCK_STREAM, socket) < 0 || pair(SOCK_SEQPACKET, control) < 0)
		return; /* out of descriptors: the Go side says so */
	pid_t pid = fork();
	if (pid == 0) {
		become_twin(argc, argv, envp, socket[1], control[1]);
		return;
	}
	close(socket[1]);
	close(control[1]);
	if (pid < 0) {
		close(socket[0]);
		close(control[0]);
		return;
	}
	bryo_twin_pid = pid;
	bryo_twin_socket = socket[0];
	bryo_twin_control = control[0];
}

/*
 * The few mallocs of C share one arena: one for each thread costs that thread four
 * system calls and the process a page.
 */
static void calm_runtime(void)
{
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}

/*
 * The Go runtime's monitor thread looks after the others every 20 us while there is
 * work: 300 wake-ups in one start, on processors that are all in use. It is the first
 * thread that the runtime makes, and inherits a slack by which it sleeps longer. No
 * other has it: a thread that looks for work sleeps 3 us now and then.
 */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	static int made;
	int slack = 0;

	if (!made) {
		made = 1;
		slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
		if (slack <= 0 || slack >= 200000 || prctl(PR_SET_TIMERSLACK, 200000, 0, 0, 0) != 0)
			slack = 0;
	}
	int err = __real_pthread_create(thread, attr, start, arg);
	if (slack)
		prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0);
	return err;
}

__attribute__((constructor)) static void bryo_enter_userns(void)
{
	const char *env = getenv("_BRYO_USERNS");
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	bryo_began = now.tv_sec * 1000000000ll + now.tv_nsec;
	calm_runtime();
	if (getenv("_BRYO_REST")) /* as in enter; this process has been there */
		prctl(PR_SET_NAME, "bryo", 0, 0, 0);
	else if (env)
		enter(atoi(env));
	else if (bryo_argv && bryo_envp && forkable(bryo_argc, bryo_argv, bryo_envp))
		fork_twin(bryo_argc, bryo_argv, bryo_envp);
}
