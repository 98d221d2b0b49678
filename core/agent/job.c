/* One run of the fork server: what it is told, and how it is ended. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fork/control.h"
#include "inside.h"

#define DEAD_WITHIN_NS 2000000000u

static char *add(char *to, const char *text)
{
    size_t n = strlen(text) + 1;
    memcpy(to, text, n);
    return to + n;
}

/* The whole text in a file without a name. */
static int text_file(const struct request *r, struct control_job *job)
{
    size_t n = strlen(r->cwd) + 1;
    for (char **p = r->argv; *p != NULL; p++, job->argc++)
        n += strlen(*p) + 1;
    for (char **p = r->env; *p != NULL; p++, job->envc++)
        n += strlen(*p) + 1;
    char *text = malloc(n);
    if (text == NULL)
        return -1;
    char *end = add(text, r->cwd);
    for (char **p = r->argv; *p != NULL; p++)
        end = add(end, *p);
    for (char **p = r->env; *p != NULL; p++)
        end = add(end, *p);
    int fd = memfd_create("run", MFD_CLOEXEC);
    ssize_t did = fd >= 0 ? write(fd, text, n) : -1;
    free(text);
    if (fd >= 0 && did != (ssize_t)n) {
        close(fd);
        fd = -1;
    }
    job->text_len = n;
    return fd;
}

int job_send(struct agent *a, const int fds[])
{
    struct control_job job = {.type = CONTROL_JOB, .fsize = a->request.fsize};
    job.flags = (fds[JOB_FD_STDIN] >= 0 ? JOB_STDIN : 0u) |
                (fds[JOB_FD_REPORTS] >= 0 ? JOB_REPORTS : 0u) |
                (runs_in_process(a) ? 0u : JOB_EXEC);
    int all[JOB_FD_COUNT], text = text_file(&a->request, &job);
    size_t count = 1;
    if (text < 0)
        return -1;
    all[JOB_FD_TEXT] = text;
    for (size_t i = 1; i < JOB_FD_COUNT; i++)
        if (fds[i] >= 0)
            all[count++] = fds[i];

    struct iovec part = {&job, sizeof job};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof all)];
    } with;
    memset(&with, 0, sizeof with);
    with.head.cmsg_len = CMSG_LEN(count * sizeof(int));
    with.head.cmsg_level = SOL_SOCKET;
    with.head.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&with.head), all, count * sizeof(int));
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &with,
                       .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    ssize_t n;
    do
        n = sendmsg(a->server.fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    int err = errno;
    close(text);
    errno = err;
    return n < 0 ? -1 : 0;
}

#define PROCESSES_MAX 2048

struct kin {
    pid_t pid, parent;
};

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_file(path, text, sizeof text) <= 0)
        return 0;
    const char *end = strrchr(text, ')'); /* the name before it may hold anything */
    return end != NULL && strlen(end) > 4 ? (pid_t)strtol(end + 4, NULL, 10) : 0;
}

static bool descends(const struct kin *all, size_t n, pid_t pid, pid_t from)
{
    for (size_t steps = 0; steps <= n && pid > 1; steps++) {
        size_t i = 0;
        while (i < n && all[i].pid != pid)
            i++;
        if (i == n)
            return false;
        pid = all[i].parent;
        if (pid == from)
            return true;
    }
    return false;
}

/* All of the run, whose orphans its init inherits. The init may have ended meanwhile, and the next
 * one, with the next program, be there already: they are none of it. One that is being forked when
 * all are stopped gets the signal, too, and may be seen here only later: see job_go_on(). */
static void kill_run(const struct agent *a)
{
    pid_t pids[PROCESSES_MAX];
    struct kin all[PROCESSES_MAX];
    /* Stopped first, all at one time, so that none is born while they are looked for. */
    kill(-1, SIGSTOP);
    size_t n = list_processes(a, pids, PROCESSES_MAX);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct kin){pids[i], parent_of(pids[i])};
    for (size_t i = 0; i < n; i++)
        kill(pids[i], descends(all, n, pids[i], a->server.init_pid) ? SIGKILL : SIGCONT);
    kill(a->server.init_pid, SIGCONT);
    kill(a->server.pid, SIGCONT);
}

/* The program is killed, and its init sees to the others and says what it all cost; where they have
 * no namespace that keeps them together, they are looked for here. */
void job_kill(struct agent *a)
{
    struct server *s = &a->server;
    if (s->init_pid == 0 || a->alone) /* all are dead; the next may be there already */
        return;
    bool first = !s->killed;
    s->killed = true;
    if (first)
        s->stop_at_ns = now_ns() + DEAD_WITHIN_NS;
    bool in_time = now_ns() < s->stop_at_ns;
    if (s->tier == MS_TIER_NAMESPACES) {
        if (!in_time)
            kill(s->init_pid, SIGKILL);
        else if (first)
            kill(s->program_pid, SIGKILL);
    } else if (in_time) {
        kill_run(a);
    } else {
        s->odd = "processes";
        kill(-1, SIGKILL); /* the server, too: nothing here can be trusted any more */
    }
}

/* What kill_run() stopped, and was not to kill, goes on: the next run's init and program, of which
 * the agent has not heard yet. Those that are not stopped take no notice. */
void job_go_on(const struct agent *a)
{
    if (a->server.killed && a->server.tier != MS_TIER_NAMESPACES)
        kill(-1, SIGCONT);
}
