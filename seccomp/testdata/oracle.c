/*
 * Builds a filter with libseccomp from rules on standard input and writes it
 * to standard output. Test oracle of package seccomp; see oracle_test.go.
 *
 *   arch NAME
 *   rule ACTION NAME COUNT {INDEX OP VALUE VALUETWO}...
 *
 * The first argument is the default action. Actions are SECCOMP_RET_* values
 * in hexadecimal, operators are numbered as in package seccomp. Names that
 * libseccomp does not know go to standard error, one per line.
 */
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int rc, const char *what)
{
	if (rc < 0) {
		fprintf(stderr, "!%s: %s\n", what, strerror(-rc));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static const enum scmp_compare ops[] = {
		0, SCMP_CMP_EQ, SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_GT, SCMP_CMP_GE, SCMP_CMP_MASKED_EQ,
	};
	scmp_filter_ctx ctx = seccomp_init(strtoul(argv[argc - 1], NULL, 16));
	char word[16], name[64];
	while (scanf("%15s", word) == 1) {
		if (!strcmp(word, "arch")) {
			scanf("%63s", name);
			int rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(name));
			must(rc == -17 /* EEXIST */ ? 0 : rc, name);
			continue;
		}
		uint32_t action;
		unsigned int count, index, op;
		struct scmp_arg_cmp args[6];
		scanf("%" SCNx32 " %63s %u", &action, name, &count);
		for (unsigned int i = 0; i < count; i++) {
			scmp_datum_t value, two;
			scanf("%u %u %" SCNx64 " %" SCNx64, &index, &op, &value, &two);
			args[i] = (struct scmp_arg_cmp){ index, ops[op], value, two };
		}
		int nr = seccomp_syscall_resolve_name(name);
		if (nr == __NR_SCMP_ERROR) {
			fprintf(stderr, "%s\n", name);
			continue;
		}
		int rc = seccomp_rule_add_array(ctx, action, nr, count, args);
		must(rc == -17 /* the same rule again */ ? 0 : rc, name);
	}
	must(seccomp_export_bpf(ctx, 1), "export");
	return 0;
}
