/* What main will be given. */
#ifndef BRYO_ARGS_H
#define BRYO_ARGS_H

/* glibc hands main's arguments to constructors, musl nothing: there they lie where the
 * kernel put them, in front of the environment and behind their number. */
#ifdef __GLIBC__
#define CONSTRUCTOR_ARGS int argc, char **argv, char **envp
#define FIND_ARGS
#else
extern char **environ;
#define CONSTRUCTOR_ARGS void
#define FIND_ARGS \
	char **envp = environ, **argv = envp - 1; /* its end */ \
	int argc = 0; \
	while ((long)argv[-1] != argc) \
		argc++, argv--;
#endif

#endif
