/* The fork server as its keeper sees it: what it says, and what that means. How it is started
 * stands in server_start.c, what one run is told in job.c, what goes on inside of it in fork/. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fork/control.h"
#include "inside.h"

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
    if (a->phase == PH_REQUEST || a->phase == PH_FILES || a->phase == PH_BETWEEN)
        retire(a, s->odd, message);
}

/* Whatever is said so far comes first: it may be why. */
void server_died(struct agent *a)
{
    struct server *s = &a->server;
    while (s->fd >= 0 && server_event(a)) /* a run that outlives it keeps the socket open */
        continue;
    while (s->words_fd >= 0) {
        size_t before = s->words_len;
        server_words(a);
        if (s->words_fd >= 0 && s->words_len == before)
            break;
    }
    struct counters now = a->before;
    cgroup_read(&a->cgroup, &now);
    const char *why = last_words(s);
    if (!s->served && now.oom_kills != a->before.oom_kills)
        why = "the container's memory ended while the interpreter loaded; raise memory";
    s->dead = true;
    give_up(a, "server", "preload", 0, why[0] != 0 ? why : "the interpreter ended without a word");
    if (a->phase != PH_RUN)
        return;
    /* The run dies with it. All are children of this process now. */
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    s->init_pid = 0;
    /* That is the sandbox's fault, unless it is the run's that memory ended, or its time had. */
    s->lost = a->killed == MS_KILLED_NO && now.oom_kills == a->before.oom_kills;
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
    char number[32], text[200];
    if (f->type == CONTROL_THREADS) {
        give_up(a, "threads", "preload", 0, "the interpreter has threads, and cannot be forked");
        return;
    }
    if (f->type == CONTROL_SHARED) {
        (void)snprintf(text, sizeof text,
                       "what was preloaded shares memory with all runs (%.63s); map it privately, "
                       "or let each run make it",
                       f->what);
        give_up(a, "server", "preload", 0, text);
        return;
    }
    const char *name = errno_name(f->err, number, sizeof number);
    (void)snprintf(text, sizeof text, "%.63s: %s", f->what, name);
    /* "isolation" would be taken for what this machine can never do. */
    give_up(a, "server", control_passing(f->err) ? "limit" : "isolation", f->err, text);
}

bool server_event(struct agent *a)
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
        return false;
    if (n < (ssize_t)sizeof m.type) {
        close(s->fd); /* SIGCHLD says the rest */
        s->fd = -1;
        return false;
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
    return true;
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
    if (s->tier != MS_TIER_NAMESPACES)
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
