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
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUICK 2 /* seconds: a helper that lived shorter did not work */
#define TRIES 5

/* landlock(7); the numbers are those of every architecture. */
#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_ADD_RULE 445
#define LANDLOCK_RESTRICT_SELF 446
#define EXECUTE (1ULL << 0)
#define WRITE_FILE (1ULL << 1)
#define READ (1ULL << 2 | 1ULL << 3) /* files, folders */
#define CHANGE (1ULL << 5 | 1ULL << 8) /* remove and make files */
#define ALL ((1ULL << 13) - 1)		/* what the first version knows */

static void allow(int rules, const char *path, uint64_t access)
{
	struct {
		uint64_t access;
		int32_t parent;
	} __attribute__((packed)) rule = { access, open(path, O_PATH | O_CLOEXEC) };

	if (rule.parent < 0)
		return;
	syscall(LANDLOCK_ADD_RULE, rules, 1, &rule, 0);
	close(rule.parent);
}

/*
 * The files that a helper needs: its network's folder, the resolvers, the TUN, and
 * /proc for the router's settings and id maps. What it does with packets of hostile
 * containers is all the user-mode stack's; if that is ever taken over, the user's own
 * files are out of reach. A kernel without Landlock (before 5.13) leaves it at that.
 */
static void confine(const char *dir)
{
	uint64_t handled = ALL;
	char resolv[PATH_MAX], *slash;
	int rules;

	/* Root's too: what a helper may do with its namespaces it may as their owner. But
	 * for the one right that mapping uid 0 into one needs (user_namespaces(7)). */
	struct { uint32_t version; int pid; } header = { 0x20080522, 0 };
	struct { uint32_t effective, permitted, inheritable; } few[2] = { { 1u << 31, 1u << 31, 0 } };

	if (geteuid() == 0)
		syscall(SYS_capset, &header, few);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return;
	rules = (int)syscall(LANDLOCK_CREATE_RULESET, &handled, sizeof handled, 0);
	if (rules < 0)
		return;
	allow(rules, dir, READ | WRITE_FILE | CHANGE);
	allow(rules, "/proc", READ | WRITE_FILE);
	allow(rules, "/proc/self/exe", 1ULL << 2 | EXECUTE);
	allow(rules, "/dev/net/tun", 1ULL << 2 | WRITE_FILE);
	allow(rules, "/dev/null", 1ULL << 2 | WRITE_FILE);
	allow(rules, "/etc", READ);
	allow(rules, "/run", READ);
	/* The loader and the libraries of a binary that is not static, as in tests. */
	allow(rules, "/usr", READ | EXECUTE);
	allow(rules, "/lib", READ | EXECUTE);
	allow(rules, "/lib64", READ | EXECUTE);
	if (realpath("/etc/resolv.conf", resolv) && (slash = strrchr(resolv, '/')) && slash > resolv) {
		*slash = 0;
		allow(rules, resolv, READ);
	}
	syscall(LANDLOCK_RESTRICT_SELF, rules, 0);
	close(rules);
}

__attribute__((constructor)) static void bryo_keep(void)
{
	const char *dir = getenv("_BRYO_KEEP");
	int status, quick = 0;

	if (!dir)
		return;
	confine(dir);
	unsetenv("_BRYO_KEEP");
	for (;;) {
		time_t began = time(NULL);
		pid_t pid = fork();

		if (pid < 0)
			_exit(125);
		if (pid == 0) {
			prctl(PR_SET_NAME, "bryo-network"); /* a later one would be called a keeper */
			return; /* the helper: on to Go's main */
		}
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
