/*
 * The last stage: the program that libcontainer starts as the container's
 * process. It takes the process from "root of the user namespace, about to
 * run untrusted code" to exactly the rights of the plan, loads the seccomp
 * filter and executes the user's program.
 *
 * Why it exists: libcontainer would compile the filter through libseccomp at
 * every start (35 ms for Docker's profile); a ready program loads in half a
 * millisecond, but only the process itself can load it. It runs before any
 * untrusted code, from a sealed memfd, and its image is gone after execve.
 *
 * Plan layout and descriptor numbers are shared with plan.go. Freestanding:
 * no libc, so that the file stays at a few kB and starts in microseconds.
 *
 * argv: [0] name, [1] offset of the plan in descriptor 3 (decimal), [2..] the
 * user's argv. The environment is the user's.
 * Descriptor 3: this program followed by the plan (sealed memfd).
 * Descriptor 4: status pipe. A report that this program runs and has its rights; then
 *               EOF: execve succeeded; another report: it did not.
 */
#include <stddef.h>
#include <stdint.h>
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <asm/errno.h>
#include <asm/signal.h>

enum { PLAN_FD = 3, STATUS_FD = 4 };

enum {
	FLAG_NO_NEW_PRIVS = 1 << 0, /* prctl(PR_SET_NO_NEW_PRIVS) */
	FLAG_SET_GROUPS = 1 << 1,   /* setgroups is allowed in this namespace */
	FLAG_DIE_WITH_PARENT = 1 << 2,
	FLAG_INIT = 1 << 3,     /* stay as PID 1: reap and forward signals */
	FLAG_TERMINAL = 1 << 4, /* descriptor 0 is the container's own terminal */
};

#define PLAN_MAGIC 0x6f797262u /* "bryo" */
#define MAX_GROUPS 1024
#define MAX_FILTER 4096

struct plan {
	uint32_t magic;
	uint32_t flags;
	uint32_t uid, gid;
	uint64_t bounding, permitted, effective, inheritable, ambient;
	uint32_t ngroups;
	uint32_t filter_len; /* in instructions */
	uint32_t filter_flags; /* SECCOMP_FILTER_FLAG_*; with a new listener
				  descriptor 4 is a socket that takes it */
	uint32_t reserved;
	/* followed by ngroups uint32_t, then filter_len struct sock_filter */
};

/* What was being done when it ended, for the one-line error. */
enum step {
	STEP_PLAN = 1,
	STEP_FDS,
	STEP_BOUNDING,
	STEP_GROUPS,
	STEP_USER,
	STEP_CAPS,
	STEP_NO_NEW_PRIVS,
	STEP_SECCOMP,
	STEP_EXEC,
	STEP_FORK,
	STEP_BEGUN = 1001,
};

struct report {
	uint32_t step;
	uint32_t error;
};

#if defined(__x86_64__)
static long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}
__asm__(".globl _start\n_start:\n\txor %rbp,%rbp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall begin\n");
#elif defined(__aarch64__)
static long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tand sp,x0,#-16\n\tbl begin\n");
#else
#error "last stage: architecture not supported"
#endif
#define sys(n, a, b, c, d) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

void *memcpy(void *to, const void *from, size_t n)
{
	char *t = to;
	const char *f = from;
	while (n--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int c, size_t n)
{
	char *t = to;
	while (n--)
		*t++ = (char)c;
	return to;
}

static _Noreturn void leave(int code)
{
	for (;;)
		sys(__NR_exit_group, code, 0, 0, 0);
}

static _Noreturn void give_up(enum step step, long ret)
{
	struct report r = { step, (uint32_t)-ret };
	sys(__NR_write, STATUS_FD, &r, sizeof r, 0);
	leave(127);
}

static void must(enum step step, long ret)
{
	if (ret < 0)
		give_up(step, ret);
}

static size_t length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

static uint32_t groups[MAX_GROUPS];
static struct sock_filter filter[MAX_FILTER];

static void read_at(void *to, size_t n, uint64_t offset)
{
	long got = sys(__NR_pread64, PLAN_FD, to, n, offset);
	if (got < 0)
		give_up(STEP_PLAN, got);
	if ((size_t)got != n)
		give_up(STEP_PLAN, -EINVAL);
}

static void read_plan(struct plan *p, const char *offset)
{
	uint64_t at = 0;
	for (; *offset >= '0' && *offset <= '9'; offset++)
		at = at * 10 + (uint64_t)(*offset - '0');
	read_at(p, sizeof *p, at);
	if (p->magic != PLAN_MAGIC || p->ngroups > MAX_GROUPS || p->filter_len > MAX_FILTER)
		give_up(STEP_PLAN, -EINVAL);
	at += sizeof *p;
	if (p->ngroups)
		read_at(groups, p->ngroups * sizeof groups[0], at);
	at += p->ngroups * sizeof groups[0];
	if (p->filter_len)
		read_at(filter, p->filter_len * sizeof filter[0], at);
}

/* Only 0, 1 and 2 survive execve. close_range(CLOEXEC) needs Linux 5.11. */
static void seal_descriptors(void)
{
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
	if (sys(__NR_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */, 0) == 0)
		return;
	for (int fd = 3; fd < 4096; fd++)
		sys(__NR_fcntl, fd, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */, 0);
}

static void drop_bounding(uint64_t keep)
{
	for (int cap = 0; cap < 64; cap++) {
		long have = sys(__NR_prctl, PR_CAPBSET_READ, cap, 0, 0);
		if (have < 0)
			return; /* past the kernel's last capability */
		if (have && !(keep >> cap & 1))
			must(STEP_BOUNDING, sys(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0));
	}
}

static void become_user(const struct plan *p)
{
	must(STEP_USER, sys(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0));
	/* The user opens his terminal again by its name. */
	if (p->flags & FLAG_TERMINAL)
		must(STEP_USER, sys(__NR_fchown, 0, p->uid, -1, 0));
	if (p->flags & FLAG_SET_GROUPS)
		must(STEP_GROUPS, sys(__NR_setgroups, p->ngroups, groups, 0, 0));
	must(STEP_USER, sys(__NR_setresgid, p->gid, p->gid, p->gid, 0));
	must(STEP_USER, sys(__NR_setresuid, p->uid, p->uid, p->uid, 0));
	must(STEP_USER, sys(__NR_prctl, PR_SET_KEEPCAPS, 0, 0, 0));
}

/*
 * Set the capability sets. `extra` stays permitted and effective until execve
 * recomputes them: with the bounding, inheritable and ambient sets already
 * final, it cannot outlive that call, for root or for another uid
 * (capabilities(7), "Transformation of capabilities during execve").
 */
static void set_capabilities(const struct plan *p, uint64_t extra)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	uint64_t permitted = p->permitted | extra, effective = p->effective | extra;

	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(permitted >> 32 * i);
		data[i].effective = (uint32_t)(effective >> 32 * i);
		data[i].inheritable = (uint32_t)(p->inheritable >> 32 * i);
	}
	must(STEP_CAPS, sys(__NR_capset, &header, data, 0, 0));
	must(STEP_CAPS, sys(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0));
	for (int cap = 0; cap < 64; cap++)
		if (p->ambient >> cap & 1)
			must(STEP_CAPS, sys(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0));
}

/* Gives the listener to the supervisor and closes it before any untrusted code:
 * a container holding it could answer its own notifications. The supervisor takes
 * it out of this process by its number (pidfd_getfd): the filter that is loaded by
 * now may ask for sendmsg, and nobody would answer yet. */
static void give_listener(int fd)
{
	struct report r = { 0, (uint32_t)fd };
	char taken;
	must(STEP_SECCOMP, sys(__NR_write, STATUS_FD, &r, sizeof r, 0));
	if (sys(__NR_read, STATUS_FD, &taken, 1, 0) != 1)
		leave(127); /* the supervisor is gone, or could not take it */
	sys(__NR_close, fd, 0, 0, 0);
}

static void load_filter(const struct plan *p)
{
	struct sock_fprog prog = { (unsigned short)p->filter_len, filter };
	long ret;

	if (!p->filter_len)
		return;
	ret = sys(__NR_seccomp, SECCOMP_SET_MODE_FILTER, p->filter_flags, &prog, 0);
	must(STEP_SECCOMP, ret);
	if (p->filter_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
		give_listener((int)ret);
}

static const char *path_of(char **env)
{
	for (; *env; env++)
		if ((*env)[0] == 'P' && (*env)[1] == 'A' && (*env)[2] == 'T' && (*env)[3] == 'H' && (*env)[4] == '=')
			return *env + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static int has_slash(const char *s)
{
	for (; *s; s++)
		if (*s == '/')
			return 1;
	return 0;
}

/* execvpe(3) without its shell fallback; the error is the one worth telling. */
static long execute(char **argv, char **env)
{
	static char buffer[8192];
	const char *dir = path_of(env);
	size_t name = length(argv[0]);
	long seen = -ENOENT;

	if (!name)
		return -ENOENT;
	if (has_slash(argv[0]))
		return sys(__NR_execve, argv[0], argv, env, 0);
	while (*dir) {
		size_t n = 0;
		while (dir[n] && dir[n] != ':')
			n++;
		if (n && dir[0] == '/' && n + name + 2 <= sizeof buffer) {
			memcpy(buffer, dir, n);
			buffer[n] = '/';
			memcpy(buffer + n + 1, argv[0], name + 1);
			long ret = sys(__NR_execve, buffer, argv, env, 0);
			if (ret != -ENOENT && ret != -ENOTDIR && ret != -EACCES)
				return ret;
			if (ret == -EACCES)
				seen = ret;
		}
		dir += n;
		if (*dir == ':')
			dir++;
	}
	return seen;
}

/*
 * --init: PID 1 reaps what is orphaned and passes on every signal it gets.
 * The stop signals of the terminal stop this process too, so that a shell on
 * the other side sees the job stop; SIGCONT wakes both.
 */
static _Noreturn void reap(long child)
{
	uint64_t all = ~0ull;
	struct { int signo, rest[31]; } info;
	int status, signo;

	/* The child holds what it needs; the pipe must see EOF at its execve. */
	sys(__NR_close, STATUS_FD, 0, 0, 0);
	sys(__NR_close, PLAN_FD, 0, 0, 0);
	for (;;) {
		signo = (int)sys(__NR_rt_sigtimedwait, &all, &info, 0, sizeof all);
		if (signo < 0)
			continue;
		if (signo != SIGCHLD) {
			sys(__NR_kill, child, signo, 0, 0);
			continue;
		}
		for (;;) {
			long pid = sys(__NR_wait4, -1, &status, 1 /* WNOHANG */, 0);
			if (pid <= 0)
				break;
			if (pid != child)
				continue;
			if ((status & 0x7f) == 0)
				leave(status >> 8 & 0xff);
			leave(128 + (status & 0x7f));
		}
	}
}

/* What ps shows of PID 1: a name instead of a descriptor. */
static void take_name(char **argv)
{
	static const char name[] = "bryo-init";
	char *end = argv[1] + length(argv[1]);

	memset(argv[0], 0, (size_t)(end - argv[0]));
	memcpy(argv[0], name, sizeof name - 1);
	sys(__NR_prctl, PR_SET_NAME, name, 0, 0);
}

static void split_init(const struct plan *p, char **argv)
{
	uint64_t all = ~0ull, old;
	/* Blocked before the fork: no signal falls between the two. */
	sys(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &old, sizeof all);
	long child = sys(__NR_clone, SIGCHLD, 0, 0, 0);
	must(STEP_FORK, child);
	if (child) {
		/* No execve of its own takes the loading right from PID 1. */
		set_capabilities(p, 0);
		take_name(argv);
		reap(child);
	}
	/* A group of its own, in the foreground when there is a terminal; the
	 * ioctl from the background would stop us, SIGTTOU is still blocked. */
	sys(__NR_setpgid, 0, 0, 0, 0);
	int self = (int)sys(__NR_getpid, 0, 0, 0, 0);
	sys(__NR_ioctl, 0, 0x5410 /* TIOCSPGRP */, &self, 0);
	sys(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &old, 0, sizeof old);
}

/* Killed with the supervisor, also when it ended before the prctl took hold:
 * then nobody holds the other end of the status pipe. */
static void die_with_parent(void)
{
	struct { int fd; short events, revents; } p = { STATUS_FD, 0, 0 };
	struct { long sec, nsec; } now = { 0, 0 };

	sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
	if (sys(__NR_ppoll, &p, 1, &now, 0) == 1 && (p.revents & 0x18 /* POLLERR|POLLHUP */))
		leave(137);
}

/* EOF alone could also be the end of a process that never came this far. */
static void say_begun(void)
{
	struct report r = { STEP_BEGUN, 0 };
	if (sys(__NR_write, STATUS_FD, &r, sizeof r, 0) != sizeof r)
		leave(127); /* nobody waits for the program any more */
}

__attribute__((used)) void begin(long *stack)
{
	char **argv = (char **)(stack + 1);
	char **env = argv + stack[0] + 1;
	struct plan plan;
	uint64_t load_right;

	if (stack[0] < 3)
		give_up(STEP_PLAN, -EINVAL);
	read_plan(&plan, argv[1]);
	seal_descriptors();
	drop_bounding(plan.bounding);
	become_user(&plan);
	load_right = plan.filter_len && !(plan.flags & FLAG_NO_NEW_PRIVS) ? 1ull << CAP_SYS_ADMIN : 0;
	set_capabilities(&plan, load_right);
	if (plan.flags & FLAG_NO_NEW_PRIVS)
		must(STEP_NO_NEW_PRIVS, sys(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0));
	if (plan.flags & FLAG_DIE_WITH_PARENT)
		die_with_parent(); /* after setresuid, which clears it */
	say_begun(); /* before the filter, which may forbid it */
	load_filter(&plan);
	if (plan.flags & FLAG_INIT)
		split_init(&plan, argv);
	give_up(STEP_EXEC, execute(argv + 2, env));
}
