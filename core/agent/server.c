/* The fork server as its keeper sees it: how it is started, and what it says. What one run of it is
 * told stands in job.c, what goes on inside of it in fork/. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
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

/* ---- SERVER -------------------------------------------------------------------------------- */

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
    s->pid = fork();
    if (s->pid == 0)
        become_server(&p, &st);
    if (s->pid < 0)
        fail(a, "preload", errno, "cannot fork", NULL);
    close(st.control);
    close(st.words);
    close(st.library);
    close(st.preload);
    free(p.env);
    free(p.modules);
    a->phase = PH_SERVER;
}

/* ---- what it says -------------------------------------------------------------------------- */

/* Of what it prints only the end is kept: an interpreter says last why it gives up. */
void server_words(struct agent *a)
{
    struct server *s = &a->server;
    char buf[4096];
    ssize_t n = read(s->words_fd, buf, sizeof buf);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(s->words_fd);
        s->words_fd = -1;
        return;
    }
    size_t more = (size_t)n, keep = s->words_len;
    if (keep > sizeof s->words - more)
        keep = sizeof s->words - more;
    memmove(s->words, s->words + s->words_len - keep, keep);
    memcpy(s->words + keep, buf, more);
    s->words_len = keep + more;
}

/* The last line that is not empty, as a string in place. */
static const char *last_words(struct server *s)
{
    size_t end = s->words_len;
    while (end > 0 && (s->words[end - 1] == '\n' || s->words[end - 1] == ' '))
        end--;
    size_t start = end;
    while (start > 0 && s->words[start - 1] != '\n')
        start--;
    if (end == sizeof s->words)
        end--;
    s->words[end] = 0;
    return s->words + start;
}

static const char *errno_name(int err, char *out, size_t size)
{
    static const struct {
        int err;
        const char *name;
    } known[] = {{EPERM, "EPERM"},   {EACCES, "EACCES"}, {ENOSYS, "ENOSYS"},
                 {ENOSPC, "ENOSPC"}, {EINVAL, "EINVAL"}, {EUSERS, "EUSERS"},
                 {ENOMEM, "ENOMEM"}, {EAGAIN, "EAGAIN"}, {EOPNOTSUPP, "EOPNOTSUPP"},
                 {ENOENT, "ENOENT"}, {EROFS, "EROFS"},   {EBUSY, "EBUSY"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].err == err)
            return known[i].name;
    (void)snprintf(out, size, "errno %d", err);
    return out;
}

static _Noreturn void retire(struct agent *a, const char *reason, const char *message)
{
    a->phase = PH_DEAF;
    out_flush(a);
    frame_begin(a, MS_F_RETIRE);
    frame_text(a, MS_T_REASON, reason);
    frame_path(a, MS_T_MESSAGE, message);
    frame_end(a);
    out_flush(a);
    _exit(0);
}

/* No run can come any more, or go on. */
static void give_up(struct agent *a, const char *reason, const char *stage, int err,
                    const char *message)
{
    struct server *s = &a->server;
    if (!s->served)
        fail(a, stage, err, message, NULL);
    if (s->odd == NULL)
        s->odd = reason;
    if (a->phase == PH_FILES)
        fail(a, "exec", err, "the fork server has ended", message);
    if (a->phase == PH_REQUEST || a->phase == PH_BETWEEN)
        retire(a, s->odd, message);
}

/* Whatever is said so far comes first: it may be why. */
void server_died(struct agent *a)
{
    struct server *s = &a->server;
    while (s->fd >= 0)
        server_event(a);
    while (s->words_fd >= 0) {
        size_t before = s->words_len;
        server_words(a);
        if (s->words_fd >= 0 && s->words_len == before)
            break;
    }
    const char *why = last_words(s);
    s->dead = true;
    give_up(a, "server", "preload", 0, why[0] != 0 ? why : "the interpreter ended without a word");
    if (a->phase != PH_RUN)
        return;
    /* The run dies with it. All are children of this process now. */
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    s->init_pid = 0;
    a->status = SIGKILL;
    a->wall_ns = now_ns() - a->start_ns;
    a->ended = a->alone = true;
    if (a->exec_fd >= 0)
        program_exec_result(a);
    a->phase = PH_END;
}

static void on_ready(struct agent *a, const struct control_ready *r, int tmp_fd, pid_t program_pid)
{
    struct server *s = &a->server;
    if (s->tmp_fd >= 0 && s->tmp_fd != s->shared_fd[0])
        close(s->tmp_fd);
    s->tmp_fd = tmp_fd >= 0 ? tmp_fd : s->shared_fd[0];
    s->tier = r->tier;
    s->namespaces = r->namespaces;
    s->landlocked = r->landlocked != 0;
    s->descriptors = r->descriptors;
    s->init_pid = r->init_pid;
    s->program_pid = program_pid;
    s->killed = false;
    s->stop_at_ns = 0;
    (void)snprintf(s->program, sizeof s->program, "%.63s", r->program);
    if (a->phase == PH_SERVER)
        a->phase = PH_BETWEEN;
}

/* The program has ended, by itself or not. */
static void on_ended(struct agent *a, int status, bool alone)
{
    if (!a->ended) {
        a->ended = true;
        a->status = status;
        a->wall_ns = now_ns() - a->start_ns;
    }
    if (a->exec_fd >= 0)
        program_exec_result(a);
    a->phase = PH_END;
    a->alone = alone;
    if (!alone)
        kill_all(a, MS_KILLED_NO);
}

static void on_gone(struct agent *a, const struct control_gone *g)
{
    struct server *s = &a->server;
    s->init_pid = 0;
    s->gone = true;
    if (a->phase == PH_RUN || a->phase == PH_END) {
        /* Its init did not live to say how it ended: it was killed, and all with it. */
        a->cpu_ns = g->cpu_ns;
        a->memory_peak = g->memory_peak;
        on_ended(a, SIGKILL, true);
    } else if (a->phase == PH_REQUEST || a->phase == PH_FILES) {
        give_up(a, "server", "preload", 0, "the walls of a run fell before it");
    }
}

static void on_failed(struct agent *a, const struct control_failed *f)
{
    char number[32], text[160];
    if (f->type == CONTROL_THREADS) {
        give_up(a, "threads", "preload", 0, "the interpreter has threads, and cannot be forked");
        return;
    }
    const char *name = errno_name(f->err, number, sizeof number);
    (void)snprintf(text, sizeof text, "%.63s: %s", f->what, name);
    give_up(a, "server", "isolation", f->err, text);
}

void server_event(struct agent *a)
{
    struct server *s = &a->server;
    union control_message m;
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } with;
    struct iovec part = {&m, sizeof m};
    struct msghdr h = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &with,
                       .msg_controllen = sizeof with.space};
    ssize_t n = recvmsg(s->fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < (ssize_t)sizeof m.type) {
        close(s->fd); /* SIGCHLD says the rest */
        s->fd = -1;
        return;
    }
    int fd = -1;
    struct ucred sender = {0, 0, 0};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c != NULL; c = CMSG_NXTHDR(&h, c)) {
        if (c->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(c), sizeof fd);
        else if (c->cmsg_type == SCM_CREDENTIALS)
            memcpy(&sender, CMSG_DATA(c), sizeof sender);
    }
    switch (m.type) {
    case CONTROL_READY:
        on_ready(a, &m.ready, fd, sender.pid);
        break;
    case CONTROL_MAIN:
    case CONTROL_ENDED:
        if (a->phase != PH_RUN && a->phase != PH_END) {
            if (!s->killed)
                give_up(a, "server", "preload", 0,
                        "a copy of the interpreter ended before its run");
            break;
        }
        a->cpu_ns = m.ended.cpu_ns;
        a->memory_peak = m.ended.memory_peak;
        if (m.type == CONTROL_ENDED)
            a->stragglers = m.ended.stragglers;
        on_ended(a, m.ended.status, m.type == CONTROL_ENDED);
        break;
    case CONTROL_GONE:
        on_gone(a, &m.gone);
        break;
    default:
        on_failed(a, &m.failed);
        break;
    }
}

/* ---- between runs -------------------------------------------------------------------------- */

static void say_ready(struct agent *a, uint64_t memory)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } kinds[] = {{CLONE_NEWUSER, "user"},    {CLONE_NEWNS, "mnt"},  {CLONE_NEWPID, "pid"},
                 {CLONE_NEWIPC, "ipc"},      {CLONE_NEWUTS, "uts"}, {CLONE_NEWNET, "net"},
                 {CLONE_NEWCGROUP, "cgroup"}};
    char names[64] = "", *end = names;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if ((a->server.namespaces & kinds[i].flag) != 0)
            end = stpcpy(end != names ? stpcpy(end, ",") : end, kinds[i].name);
    frame_begin(a, MS_F_READY);
    frame_number(a, MS_T_TIER, a->server.tier);
    frame_text(a, MS_T_NAMESPACES, names);
    frame_number(a, MS_T_MEMORY, memory);
    frame_end(a);
    out_flush(a);
}

/* Where runs have no /tmp of their own, they leave what they wrote. */
static void clean_up(struct agent *a)
{
    static const char *const names[] = {"tmp", "shm"};
    for (int i = 0; i < 2; i++)
        if (a->server.shared_fd[i] >= 0 && !wipe(a->server.shared_fd[i]))
            a->server.odd = names[i];
}

/* Compared as soon as the run's init has ended, while the server makes the next; said when both are
 * through. */
void server_settle(struct agent *a)
{
    struct server *s = &a->server;
    if (s->dead)
        retire(a, s->odd, last_words(s));
    if (s->init_pid == 0 || (s->served && !s->gone))
        return;
    if (s->tier == MS_TIER_LANDLOCK)
        clean_up(a);
    struct snapshot now;
    snapshot_take(a, &now);
    if (!s->served)
        s->first = now;
    else if (s->odd == NULL)
        s->odd = snapshot_odd(&s->first, &now);
    if (s->odd != NULL)
        retire(a, s->odd, "the container is not what it was before its first run");
    s->served = true;
    s->gone = false;
    a->phase = PH_REQUEST;
    say_ready(a, now.memory);
}
