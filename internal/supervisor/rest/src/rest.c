/*
 * What a supervisor is while it has nothing to do: a program of one page that waits
 * for any of its descriptors and then executes bryo again, in the same process. It
 * reads nothing and knows nothing of containers, so that nothing can be lost here:
 * what came is there still when bryo looks.
 *
 * The environment names in _BRYO_REST, as numbers of descriptors with commas between,
 * the record that bryo takes itself up from again, the binary, a pipe for signals
 * (signals.c), and all that is to be waited for. All else, arguments and environment, is
 * bryo's and goes to it as it is.
 *
 * SIGHUP, SIGINT and SIGTERM are blocked and stay so: a signalfd among the descriptors
 * says that one has come, and it waits for bryo. Other signals that end a process but
 * not one of Go's are ignored. Freestanding: a libc's start would be most of its weight.
 */
#include <stddef.h>
#include <stdint.h>
#include <asm/errno.h>
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/time_types.h>

#define MAX_WATCHED 256 /* maxWatched in rest.go */
#define AT_EMPTY_PATH 0x1000

/* How often the execution is tried, and how long apart: a minute for memory to be
 * there again. Then this process ends, and the container with it. */
#define TRIES 600
#define APART 100000000 /* ns */

#if defined(__x86_64__)
static long sys5(long n, long a, long b, long c, long d, long e)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return ret;
}
__asm__(".globl _start\n_start:\n\txor %rbp,%rbp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall begin\n");
#elif defined(__aarch64__)
static long sys5(long n, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tand sp,x0,#-16\n\tbl begin\n");
#else
#error "rest: architecture not supported"
#endif
#define sys(n, a, b, c, d, e) sys5(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

/* The kernel's struct sigaction; without a handler it needs no restorer. */
struct action {
	uintptr_t handler;
	unsigned long flags, restorer;
	uint64_t mask;
};

#define bit(sig) (1ull << ((sig) - 1))

static const uint64_t passed = bit(SIGHUP) | bit(SIGINT) | bit(SIGTERM);
static const uint64_t ignored = bit(SIGUSR1) | bit(SIGUSR2) | bit(SIGPIPE) | bit(SIGALRM) | bit(SIGSTKFLT) |
	bit(SIGXCPU) | bit(SIGXFSZ) | bit(SIGVTALRM) | bit(SIGPROF) | bit(SIGIO) | bit(SIGPWR);

/* All are blocked until here: bryo's own handlers went with its image. Go puts its
 * own in place again, and gives what it executes the default action. */
static void settle_signals(void)
{
	struct action ignore = { 1 /* SIG_IGN */, 0, 0, 0 };

	for (int sig = 1; sig < 32; sig++)
		if (ignored & bit(sig))
			sys(__NR_rt_sigaction, sig, &ignore, 0, sizeof ignore.mask, 0);
	sys(__NR_rt_sigprocmask, SIG_SETMASK, &passed, 0, sizeof passed, 0);
}

static const char *value_of(char **env, const char *name)
{
	for (; *env; env++) {
		const char *e = *env, *n = name;
		while (*n && *e == *n)
			e++, n++;
		if (!*n && *e == '=')
			return e + 1;
	}
	return NULL;
}

/* Takes a number and the comma behind it; -1 at the end. */
static int next_number(const char **text)
{
	int n = 0;

	if (!*text || **text < '0' || **text > '9')
		return -1;
	for (; **text >= '0' && **text <= '9'; ++*text)
		n = n * 10 + (**text - '0');
	if (**text == ',')
		++*text;
	return n;
}

/* Waits for the first event of any kind; what it is, bryo finds out. A call that the
 * kernel refuses counts as one. */
static void wait_for(const char *list)
{
	struct pollfd watched[MAX_WATCHED];
	long ready;
	unsigned n = 0;

	for (int fd; n < MAX_WATCHED && (fd = next_number(&list)) >= 0; n++) {
		watched[n].fd = fd;
		watched[n].events = POLLIN;
	}
	do
		ready = sys(__NR_ppoll, watched, n, 0, 0, 0);
	while (ready == -EINTR);
}

static void execute(int program, char **argv, char **env)
{
	struct __kernel_timespec apart = { 0, APART };

	for (int i = 0; i < TRIES; i++) {
		sys(__NR_execveat, program, "", argv, env, AT_EMPTY_PATH);
		sys(__NR_nanosleep, &apart, 0, 0, 0, 0);
	}
}

__attribute__((used)) void begin(long *stack)
{
	char **argv = (char **)(stack + 1);
	char **env = argv + stack[0] + 1;
	const char *list = value_of(env, "_BRYO_REST");
	int program;

	sys(__NR_prctl, PR_SET_NAME, "bryo", 0, 0, 0); /* not that of the descriptor */
	settle_signals();
	next_number(&list); /* the record */
	program = next_number(&list);
	next_number(&list); /* the pipe */
	wait_for(list);
	execute(program, argv, env);
	for (;;)
		sys(__NR_exit_group, 125, 0, 0, 0, 0);
}
