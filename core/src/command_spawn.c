/* The start of a command: its files, environment and directory. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "command.h"
#include "error.h"
#include "file.h"
#include "mem.h"
#include "program.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The list as execve(2) wants it; the strings stay the caller's. */
static char **list(const char *const *from, size_t n)
{
    char **to = ms_calloc(n + 1, sizeof(*to));
    if (to != NULL && n != 0)
        memcpy(to, from, n * sizeof(*to));
    return to;
}

static bool named_in(const char *entry, const char *const *env, size_t n)
{
    size_t len = strcspn(entry, "=") + 1;
    for (size_t i = 0; i < n; i++)
        if (strncmp(entry, env[i], len) == 0)
            return true;
    return false;
}

/* Ours without what is given, then what is given. */
static char **environment(const moonsand_command_options *o)
{
    size_t n = 0, used = 0;
    while (environ != NULL && environ[n] != NULL)
        n++;
    char **to = ms_calloc(n + o->envc + 1, sizeof(*to));
    if (to == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (!named_in(environ[i], o->env, o->envc))
            to[used++] = environ[i];
    if (o->envc != 0)
        memcpy(to + used, o->env, o->envc * sizeof(*to));
    return to;
}

/* A file in memory rather than a pipe: nothing has to be fed while the output is read. */
static int stdin_fd(const moonsand_command_options *o, moonsand_error **err)
{
    int fd = o->stdin_data == NULL ? open("/dev/null", O_RDONLY | O_CLOEXEC)
                                   : memfd_create("stdin", MFD_CLOEXEC);
    if (fd < 0 || ms_above_stdio(&fd) != 0) {
        ms_fail_errno(err, errno, "cannot make the program's stdin");
        close_fd(&fd);
        return -1;
    }
    if (o->stdin_data == NULL)
        return fd;
    if (ms_write_all(fd, o->stdin_data, o->stdin_len) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
        ms_fail_errno(err, errno, "cannot keep the program's stdin");
        close(fd);
        return -1;
    }
    return fd;
}

/* fds: the program's stdin, stdout and stderr; ends: ours of the last two. */
static int open_files(const moonsand_command_options *o, int fds[3], int ends[2],
                      moonsand_error **err)
{
    fds[0] = stdin_fd(o, err);
    if (fds[0] < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        int both[2];
        if (pipe2(both, O_CLOEXEC) != 0)
            return ms_fail_errno(err, errno, "cannot make a pipe");
        ends[i] = both[0];
        fds[i + 1] = both[1];
        if (ms_above_stdio(&fds[i + 1]) != 0 || fcntl(ends[i], F_SETFL, O_NONBLOCK) != 0)
            return ms_fail_errno(err, errno, "cannot make a pipe");
    }
    return 0;
}

static int open_cwd(const char *cwd, int *fd, moonsand_error **err)
{
    *fd = -1;
    if (cwd == NULL)
        return 0;
    *fd = open(cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*fd >= 0 && ms_above_stdio(fd) == 0)
        return 0;
    ms_fail_errno(err, errno, "the working directory %s", cwd);
    close_fd(fd);
    return -1;
}

static int start(pid_t *pid, const int fds[3], const moonsand_command_options *o, const char *name,
                 moonsand_error **err)
{
    int cwd, rc = -1;
    char **argv = list(o->argv, o->argc), **envp = environment(o);
    if (argv == NULL || envp == NULL) {
        ms_fail_nomem(err);
    } else if (open_cwd(o->cwd, &cwd, err) == 0) {
        int e = ms_program_start(pid, &(ms_program){argv, envp, fds[0], fds[1], fds[2], cwd});
        close_fd(&cwd);
        if (e == 0)
            rc = 0;
        else if (e == ENOENT && strchr(o->argv[0], '/') == NULL)
            ms_fail(err, MOONSAND_E_NOT_FOUND, "cannot start %s: it is not in PATH", name);
        else
            ms_fail_errno(err, e, "cannot start %s", name);
    }
    ms_free(argv);
    ms_free(envp);
    return rc;
}

int ms_command_spawn(pid_t *pid, int ends[2], const moonsand_command_options *o, const char *name,
                     moonsand_error **err)
{
    int fds[3] = {-1, -1, -1};
    ends[0] = ends[1] = -1;
    int rc = open_files(o, fds, ends, err) != 0 || start(pid, fds, o, name, err) != 0 ? -1 : 0;
    for (int i = 0; i < 3; i++)
        close_fd(&fds[i]);
    for (int i = 0; rc != 0 && i < 2; i++)
        close_fd(&ends[i]);
    return rc;
}
