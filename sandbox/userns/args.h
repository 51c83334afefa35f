/* What main will be given: from the first constructor on (limits.c). */
extern int bryo_argc;
extern char **bryo_argv, **bryo_envp;
