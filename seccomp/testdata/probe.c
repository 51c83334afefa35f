/*
 * Loads a filter from a file of struct sock_filter, as the last stage of a
 * container does, and then either runs a program or issues system calls. Test
 * tool of package seccomp; see kernel_test.go.
 *
 *   probe FILTER exec PROGRAM ARG...
 *   probe FILTER call   lines "ABI NR A0 ... A5" on standard input, ABI one of
 *                       amd64, x32, 386; prints the result of each, -errno or
 *                       "signal N". Each call is made in a child of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(99);
}

static void load(const char *path, int drop)
{
	static struct sock_filter code[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, code, sizeof code);
	if (n <= 0)
		die(path);
	close(fd);
	struct sock_fprog prog = { n / sizeof code[0], code };
	/* The filter is read as root and loaded without: what it lets through
	 * shall do no harm. */
	if (drop && !getuid() && (setgid(65534) || setuid(65534)))
		die("drop root");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		die("load filter");
}

static long call(const char *abi, unsigned long nr, unsigned long *a)
{
	long r;
	if (!strcmp(abi, "386")) {
		/* Neither rbp (a frame pointer) nor a sixth argument here. */
		__asm__ volatile("int $0x80"
				 : "=a"(r)
				 : "a"(nr), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
				 : "memory", "r8", "r9", "r10", "r11");
		return (int)r;
	}
	register unsigned long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
	if (!strcmp(abi, "x32"))
		nr |= 0x40000000;
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "memory", "rcx", "r11");
	return r;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 98;
	load(argv[1], !strcmp(argv[2], "call"));
	if (!strcmp(argv[2], "exec")) {
		execvp(argv[3], argv + 3);
		die(argv[3]);
	}
	long *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char abi[16];
	unsigned long nr, a[6];
	while (scanf("%15s %li %li %li %li %li %li %li", abi, &nr, a, a + 1, a + 2, a + 3, a + 4, a + 5) == 8) {
		int status;
		pid_t child = fork();
		if (!child) {
			*shared = call(abi, nr, a);
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) < 0)
			die("fork");
		if (WIFSIGNALED(status))
			printf("signal %d\n", WTERMSIG(status));
		else
			printf("%ld\n", *shared);
	}
	return 0;
}
