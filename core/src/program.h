/* Starts programs of this machine, for dial.c (ssh) and command.c. */
#ifndef MS_PROGRAM_H
#define MS_PROGRAM_H

#include <sys/types.h>

typedef struct ms_program {
    char *const *argv; /* NULL-terminated; argv[0] is looked for in our PATH */
    char *const *envp; /* NULL: ours */
    int in, out, err;  /* its descriptors 0 to 2, all above 2 (ms_above_stdio) */
    int cwd;           /* descriptor of its working directory; -1: ours */
} ms_program;

/* The program leads a session and process group of its own, so that Ctrl-C in the terminal does not
 * end it before the caller could clean up. It has descriptors 0 to 2 only, every signal at its
 * default and none blocked: what the host program set is its own affair. 0, or an errno, also when
 * the exec failed. */
int ms_program_start(pid_t *pid, const ms_program *how);

/* A host may run with its descriptors 0 to 2 closed; one of ours that got such a number would be
 * trodden on. Moves it up; -1 and errno when that fails. */
int ms_above_stdio(int *fd);

#endif
