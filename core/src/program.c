#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

static int set_files(posix_spawn_file_actions_t *files, const ms_program *how)
{
    int e;
    if ((how->cwd >= 0 && (e = posix_spawn_file_actions_addfchdir_np(files, how->cwd)) != 0) ||
        (e = posix_spawn_file_actions_adddup2(files, how->in, 0)) != 0 ||
        (e = posix_spawn_file_actions_adddup2(files, how->out, 1)) != 0 ||
        (e = posix_spawn_file_actions_adddup2(files, how->err, 2)) != 0)
        return e;
    return posix_spawn_file_actions_addclosefrom_np(files, 3);
}

static int set_signals(posix_spawnattr_t *attr)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int e;
    if ((e = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
                                                POSIX_SPAWN_SETSIGMASK)) != 0 ||
        (e = posix_spawnattr_setsigdefault(attr, &all)) != 0)
        return e;
    return posix_spawnattr_setsigmask(attr, &none);
}

int ms_program_start(pid_t *pid, const ms_program *how)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    int e = posix_spawn_file_actions_init(&files);
    if (e != 0)
        return e;
    e = posix_spawnattr_init(&attr);
    if (e != 0) {
        posix_spawn_file_actions_destroy(&files);
        return e;
    }
    if ((e = set_files(&files, how)) == 0 && (e = set_signals(&attr)) == 0)
        e = posix_spawnp(pid, how->argv[0], &files, &attr, how->argv,
                         how->envp != NULL ? how->envp : environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return e;
}

int ms_above_stdio(int *fd)
{
    if (*fd > 2)
        return 0;
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (high < 0)
        return -1;
    close(*fd);
    *fd = high;
    return 0;
}
