/* SERVER: starting the fork server. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fork/control.h"
#include "inside.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif

/* The copies of the server are process 2 of their own namespaces. Libraries tell a copy from the
 * original by the number, so the original must not be 2, or any that is near. */
#define FIRST_PID 16

#define FAR_FD 10 /* above all that the server is started with */

struct plan { /* what SERVER asks for */
    char *language, *interpreter, **env, **modules;
    const char *script;
    uint64_t tier_lowest, tmp_bytes, tmp_inodes, shm_bytes, net_shared, tmp_exec, fsize;
};

static uint64_t *plan_number(struct plan *p, int tag)
{
    switch (tag) {
    case MS_T_TIER_LOWEST:
        return &p->tier_lowest;
    case MS_T_TMP_BYTES:
        return &p->tmp_bytes;
    case MS_T_TMP_INODES:
        return &p->tmp_inodes;
    case MS_T_SHM_BYTES:
        return &p->shm_bytes;
    case MS_T_NET_SHARED:
        return &p->net_shared;
    case MS_T_TMP_EXEC:
        return &p->tmp_exec;
    case MS_T_FSIZE:
        return &p->fsize;
    default:
        return NULL;
    }
}

static void plan_take(struct agent *a, struct plan *p, unsigned char *bytes, size_t n)
{
    size_t counts[MS_T_TMP_EXEC + 1], envc = 0, modulec = 0;
    fields_count(a, bytes, n, counts, MS_T_TMP_EXEC + 1,
                 (uint64_t)1 << MS_T_ENV | (uint64_t)1 << MS_T_PRELOAD);
    p->env = calloc(counts[MS_T_ENV] + 1, sizeof *p->env);
    p->modules = calloc(counts[MS_T_PRELOAD] + 1, sizeof *p->modules);
    if (p->env == NULL || p->modules == NULL)
        fail(a, "request", ENOMEM, "no memory for the server", NULL);
    struct fields fields;
    struct field f;
    fields_start(&fields, bytes, n);
    while (fields_next(a, &fields, &f)) {
        uint64_t *number = plan_number(p, f.tag);
        if (number != NULL)
            *number = field_number(a, &f);
        else if (f.tag == MS_T_LANGUAGE)
            p->language = field_text(a, &f);
        else if (f.tag == MS_T_ARGV)
            p->interpreter = field_text(a, &f);
        else if (f.tag == MS_T_ENV)
            p->env[envc++] = field_text(a, &f);
        else if (f.tag == MS_T_PRELOAD)
            p->modules[modulec++] = field_text(a, &f);
        else if (f.tag == MS_T_PRELOAD_SCRIPT)
            p->script = field_text(a, &f);
        else
            bad_host(a, "a field of unknown kind for the server");
    }
    if (p->language == NULL || p->interpreter == NULL || p->interpreter[0] == 0 ||
        (strcmp(p->language, "python") != 0 && strcmp(p->language, "lua") != 0))
        bad_host(a, "a server without a language or an interpreter");
}

/* ---- starting it --------------------------------------------------------------------------- */

static int nameless_file(const char *name, unsigned int more, const void *p, size_t n)
{
    int fd = memfd_create(name, MFD_CLOEXEC | more);
    if (fd < 0 && errno == EINVAL && more != 0)
        fd = memfd_create(name, MFD_CLOEXEC);
    const char *at = p;
    while (fd >= 0 && n > 0) {
        ssize_t did = write(fd, at, n);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0) {
            close(fd);
            return -1;
        }
        at += did;
        n -= (size_t)did;
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Each ends with NUL: the modules' names, then the script. */
static int preload_file(const struct plan *p)
{
    size_t n = p->script != NULL ? strlen(p->script) + 1 : 1;
    for (char **m = p->modules; *m != NULL; m++)
        n += strlen(*m) + 1;
    char *text = malloc(n), *at = text;
    if (text == NULL)
        return -1;
    for (char **m = p->modules; *m != NULL; m++)
        at = stpcpy(at, *m) + 1;
    (void)stpcpy(at, p->script != NULL ? p->script : "");
    int fd = nameless_file("preload", 0, text, n);
    free(text);
    return fd;
}

struct starting {
    int control, library, preload, words;
};

static _Noreturn void become_server(const struct plan *p, const struct starting *s)
{
    char *argv[] = {p->interpreter, (char *)(uintptr_t) "-c", NULL, NULL};
    bool python = strcmp(p->language, "python") == 0;
    if (!python)
        argv[1] = (char *)(uintptr_t) "-e";
    argv[2] = (char *)(uintptr_t)embedded_glue(python);
    setsid();
    default_signals();
    umask(022);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int far[] = {fcntl(s->control, F_DUPFD_CLOEXEC, FAR_FD),
                 fcntl(s->library, F_DUPFD_CLOEXEC, FAR_FD),
                 fcntl(s->preload, F_DUPFD_CLOEXEC, FAR_FD)};
    if (null < 0 || dup2(null, 0) < 0 || dup2(s->words, 1) < 0 || dup2(s->words, 2) < 0 ||
        dup2(far[0], CONTROL_FD) < 0 || dup2(far[1], LIBRARY_FD) < 0 ||
        dup2(far[2], PRELOAD_FD) < 0 || chdir("/") < 0 || limit(RLIMIT_CORE, 0) < 0 ||
        (p->fsize > 0 && limit(RLIMIT_FSIZE, p->fsize) < 0)) {
        dprintf(2, "cannot prepare %s: %s\n", p->interpreter, strerror(errno));
        _exit(127);
    }
    close_from(PRELOAD_FD + 1);
    exec_program(argv, p->env);
    dprintf(2, "cannot execute %s: %s\n", p->interpreter, strerror(errno));
    _exit(127);
}

static void use_up_pids(void)
{
    for (;;) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        if (pid < 0)
            return;
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        if (pid >= FIRST_PID)
            return;
    }
}

/* Into the message; the number of instructions, 0 and errno when it cannot be had. */
static uint32_t filter_into(struct sock_filter *out)
{
    int fd = memfd_create("filter", MFD_CLOEXEC);
    ssize_t n = -1;
    if (fd >= 0 && filter_write(fd) == 0)
        n = pread(fd, out, CONTROL_FILTER_MAX * sizeof *out, 0);
    int err = n >= 0 ? E2BIG : errno;
    if (fd >= 0)
        close(fd);
    errno = err;
    bool fits = n > 0 && (size_t)n < CONTROL_FILTER_MAX * sizeof *out; /* or it was cut */
    return fits ? (uint32_t)((size_t)n / sizeof *out) : 0;
}

static void send_config(struct agent *a, const struct plan *p)
{
    struct control_config c;
    memset(&c, 0, sizeof c);
    c.type = CONTROL_CONFIG;
    c.tier_lowest = (uint32_t)p->tier_lowest;
    c.net_shared = p->net_shared != 0;
    c.tmp_exec = p->tmp_exec != 0;
    c.landlock_abi = (uint32_t)a->landlock_abi;
    c.tmp_bytes = p->tmp_bytes;
    c.tmp_inodes = p->tmp_inodes;
    c.shm_bytes = p->shm_bytes;
    c.filter_len = filter_into(c.filter);
    if (c.filter_len == 0)
        fail(a, "isolation", errno, "cannot make the seccomp filter", NULL);
    if (send(a->server.fd, &c, sizeof c, MSG_NOSIGNAL) != (ssize_t)sizeof c)
        fail(a, "isolation", errno, "cannot talk to the fork server", NULL);
}

void server_take(struct agent *a, unsigned char *bytes, size_t n)
{
    struct plan p;
    struct server *s = &a->server;
    memset(&p, 0, sizeof p);
    plan_take(a, &p, bytes, n);
    s->interpreter = p.interpreter;
    s->python = strcmp(p.language, "python") == 0;
    s->env = p.env;
    interpreter_find(s);

    /* Opened before a run can forbid it. */
    s->shared_fd[0] = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    s->shared_fd[1] = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->shared_fd[0] < 0)
        fail(a, "preload", errno, "cannot open", "/tmp");
    struct embedded so = embedded_library();
    int pair[2], words[2];
    struct starting st = {-1, nameless_file("moonsand-fork", MFD_EXEC, so.p, so.len),
                          preload_file(&p), -1};
    if (st.library < 0 || st.preload < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
        pipe2(words, O_CLOEXEC) < 0)
        fail(a, "preload", errno, "cannot prepare the fork server", NULL);
    (void)fcntl(words[0], F_SETFL, O_NONBLOCK);
    /* Who says READY knows its number in its own namespace only; the kernel translates it. */
    const int on = 1;
    if (setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
        fail(a, "preload", errno, "cannot prepare the fork server", NULL);
    use_up_pids();
    st.control = pair[1];
    st.words = words[1];
    s->fd = pair[0];
    s->words_fd = words[0];
    send_config(a, &p); /* waits in the socket */
    cgroup_read(&a->cgroup, &a->before);
    s->pid = fork();
    if (s->pid == 0)
        become_server(&p, &st);
    if (s->pid < 0)
        fail(a, "preload", errno, "cannot fork", NULL);
    close(st.control);
    close(st.words);
    close(st.library);
    close(st.preload);
    free(p.modules);
    a->phase = PH_SERVER;
}
