/* What the files of command share: command.c (its life), command_spawn.c (its start). */
#ifndef MS_COMMAND_H
#define MS_COMMAND_H

#include <sys/types.h>

#include "moonsand.h"

/* Starts the program of checked options. ends: ours of its stdout and stderr, non-blocking. */
int ms_command_spawn(pid_t *pid, int ends[2], const moonsand_command_options *o, const char *name,
                     moonsand_error **err);

#endif
