/* Other processes, told apart from later ones with the same pid, and the leftovers of an engine. */
#ifndef MS_PROCESS_H
#define MS_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "mem.h"
#include "moonsand.h"

/* In clock ticks since boot; 0 when there is no such process or it is a zombie. */
uint64_t ms_process_start(pid_t pid);
/* Starts argv[0] (a path) as a daemon: session of its own, no descriptor of ours, default signals,
 * stdout and stderr at the end of log. It is nobody's child. A failed exec is an error here. */
int ms_process_daemon(pid_t *pid, char *const argv[], char *const envp[], const char *log,
                      moonsand_error **err);
/* Runs argv[0] (a path) and waits for its end, with input (may be NULL) as its stdin and no
 * descriptor of ours. *status is its exit status, 128+n for signal n; what it wrote to stderr is in
 * said, printable and cut, its stdout is dropped. TIMEOUT after limit_ns, when it was killed. */
int ms_process_run(int *status, char *const argv[], char *const envp[], const char *input,
                   char *said, size_t said_size, int64_t limit_ns, moonsand_error **err);
/* SIGTERM, up to grace_ns for the end, then SIGKILL. */
void ms_process_end(pid_t pid, uint64_t start, int64_t grace_ns);
/* Kills this user's engine programs (containerd, shims, conmon, ...) with one of the words in their
 * arguments, and everything below them; waits until they are gone. IO when some will not die. */
int ms_process_kill_leftovers(const char *const *words, moonsand_error **err);
/* Unmounts what is mounted below dir, deepest first; best effort. */
void ms_unmount_below(const char *dir);
/* Removes dir and all below it on the same file system, following no link; best effort. */
void ms_remove_tree(const char *dir);

/* For a child between fork and exec; only system calls. process_daemon.c. */
void ms_child_close_from(int first);
void ms_child_default_signals(void);

#endif
