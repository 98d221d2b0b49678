/* The agent with a fork server, when something is done to its container from outside: each reason
 * to retire it that can be provoked, and what becomes of the run under way. */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>

#include "agent_server.h"

static const server_plan plain;

/* ---- what is done to it ------------------------------------------------------------------------
 */

struct target {
    pid_t agent, server;
    pid_t stray; /* to be killed at the end; 0: none */
};

static bool enter(pid_t pid, const char *kind)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && setns(fd, 0) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

/* In a child that has the container's user namespace, and this one. */
static bool inside(struct target *t, const char *kind, bool (*act)(struct target *))
{
    int status = -1;
    char path[64];
    /* Opened before the first is entered: from there the second's file cannot be reached. */
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)t->agent, kind);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0)
        _exit(fd >= 0 && enter(t->agent, "user") && setns(fd, 0) == 0 && act(t) ? 0 : 1);
    if (fd >= 0)
        close(fd);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool touch(const struct target *t, const char *where)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/root%s/planted", (int)t->agent, where);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool in_tmp(struct target *t)
{
    return touch(t, "/tmp");
}

static bool in_shm(struct target *t)
{
    return touch(t, "/dev/shm");
}

static bool mount_one(struct target *t)
{
    (void)t;
    return mount("planted", "/run", "tmpfs", 0, NULL) == 0;
}

static bool mounted(struct target *t)
{
    return inside(t, "mnt", mount_one);
}

static bool make_queue(struct target *t)
{
    (void)t;
    return msgget(IPC_PRIVATE, 0600) >= 0;
}

static bool queue(struct target *t)
{
    return inside(t, "ipc", make_queue);
}

static int stray_pipe[2];

static bool stay(struct target *t)
{
    (void)t;
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    return pid > 0 && write(stray_pipe[1], &pid, sizeof pid) == (ssize_t)sizeof pid;
}

static bool stray(struct target *t)
{
    if (pipe2(stray_pipe, O_CLOEXEC) < 0)
        return false;
    bool good = inside(t, "pid", stay) &&
                read(stray_pipe[0], &t->stray, sizeof t->stray) == (ssize_t)sizeof t->stray;
    close(stray_pipe[0]);
    close(stray_pipe[1]);
    return good;
}

static bool slower(struct target *t)
{
    return setpriority(PRIO_PROCESS, (id_t)t->server, 5) == 0;
}

/* ---- what comes of it --------------------------------------------------------------------------
 */

static bool opened(host *h, struct target *t)
{
    bool good = host_open(h, &plain);
    t->agent = child_of(h->pid);
    t->server = child_of(t->agent);
    t->stray = 0;
    host_python(h, "print('before')");
    return ok(good && is(h, 0, "before\n"), "a server with a run behind it");
}

static void closed(host *h, const struct target *t)
{
    if (t->stray > 0)
        kill(t->stray, SIGKILL);
    host_close(h);
}

/* The run whose comparison shows it is whole itself: it had its walls before. */
static void test_reasons(uint64_t tier)
{
    static const struct {
        bool (*plant)(struct target *);
        const char *what, *reason;
        bool wiped; /* where runs share the container's own */
    } all[] = {
        {in_tmp, "a file in /tmp", "tmp", true},  {in_shm, "one in /dev/shm", "shm", true},
        {mounted, "a mount", "mounts", false},    {queue, "a message queue", "ipc", false},
        {stray, "a process", "processes", false}, {slower, "a slow server", "processes", false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        host h;
        struct target t;
        if (opened(&h, &t) && ok(all[i].plant(&t), "%s is planted", all[i].what)) {
            host_python(&h, "print('on')");
            bool told = h.s.finished && h.s.final.exit_code == 0;
            if (tier == MS_TIER_LANDLOCK && all[i].wiped)
                ok(told && !h.retired, "and wiped");
            else
                ok(told && h.retired && strcmp(h.reason, all[i].reason) == 0, "is seen: %s",
                   h.reason);
        }
        closed(&h, &t);
    }
}

/* As many as a test has patience for; false: it did not come. */
static bool comes(host *h, const bool *what)
{
    double end = harness_now() + 10;
    while (!*what && !h->closed && harness_now() < end)
        (void)host_turn(h, 20);
    return *what;
}

static void test_server_dies(void)
{
    host h;
    struct target t;
    if (opened(&h, &t)) {
        kill(t.server, SIGKILL);
        ok(comes(&h, &h.retired) && strcmp(h.reason, "server") == 0, "killed between runs: %s",
           h.reason);
    }
    closed(&h, &t);
    if (opened(&h, &t)) {
        plan p = {.argv = {"python3", "main.py"}};
        host_put_request(&h.out, &p, "main.py", "");
        h.out.len -= MS_PROTO_HEAD; /* of GO */
        (void)host_turn(&h, 100);
        kill(t.server, SIGKILL);
        ok(comes(&h, &h.retired) && h.s.result == 0 && strcmp(h.reason, "server") == 0,
           "killed while a run's files come: %s", h.reason);
    }
    closed(&h, &t);
    if (opened(&h, &t)) {
        plan p = {.argv = {"python3", "main.py"}};
        host_put_request(&h.out, &p, "main.py",
                         "import time\nprint('partial', flush=True)\ntime.sleep(20)\n");
        harness_forget(&h.s);
        double end = harness_now() + 10;
        while (h.s.out.len == 0 && harness_now() < end)
            (void)host_turn(&h, 20);
        double began = harness_now();
        kill(t.server, SIGKILL);
        ok(comes(&h, &h.closed) && harness_now() - began < 5, "killed in a run: %.2f s",
           harness_now() - began);
        is_str(h.s.out.data, "partial\n", "what it had written came out");
        ok(!h.s.finished && !h.s.failed && h.s.result == 0, "and nothing is told as its end");
    }
    int status = host_close(&h);
    ok(WIFEXITED(status) && WEXITSTATUS(status) != 0, "the agent's own end says that it is wrong");
}

/* A thread that comes when all have been looked for. */
static void test_threads(void)
{
    host h;
    server_plan late = {.script = "import os, threading, time\n"
                                  "os.register_at_fork(before=lambda: threading.Thread("
                                  "target=time.sleep, args=(60,), daemon=True).start())\n"};
    ok(!host_open(&h, &late), "a thread before the fork");
    is_str(h.s.stage, "preload", "stage");
    is_str(h.s.message, "the interpreter has threads, and cannot be forked", "message");
    host_close(&h);
}

/* ---- tiers and exceptions ----------------------------------------------------------------------
 */

static void refused(const server_plan *p, const char *what, const char *why)
{
    host h;
    ok(!host_open(&h, p) && h.s.failed, "%s: no server", what);
    is_str(h.s.stage, "isolation", "stage");
    ok(strstr(h.s.message, why) != NULL, "message: %s", h.s.message);
    host_close(&h);
}

static void test_require(void)
{
    server_plan most = {.tier_lowest = MS_TIER_NAMESPACES};
    server_plan some = {.tier_lowest = MS_TIER_LANDLOCK};
    host h;
    ok(host_open(&h, &most) && h.tier == MS_TIER_NAMESPACES, "namespaces asked for, and had");
    host_close(&h);
    harness_refuses_landlock = true;
    ok(host_open(&h, &most) && h.tier == MS_TIER_NAMESPACES, "had without Landlock as well");
    host_close(&h);
    harness_refuses_namespaces = true;
    refused(&some, "neither is there", "landlock");
    harness_refuses_landlock = false;
    refused(&most, "namespaces asked for, and refused", "clone3");
    ok(host_open(&h, &some) && h.tier == MS_TIER_LANDLOCK, "not asked for: Landlock");
    host_close(&h);
    harness_refuses_namespaces = false;
}

static void test_exceptions(void)
{
    static const char code[] = "import os, shutil, subprocess\n"
                               "shutil.copy('/bin/true', '/tmp/copy')\n"
                               "try: print(subprocess.call(['/tmp/copy']))\n"
                               "except OSError as e: print(e.strerror)\n"
                               "print(os.readlink('/proc/self/ns/net'))\n";
    static const server_plan plans[] = {{.net_shared = false},
                                        {.net_shared = true, .tmp_exec = true}};
    for (int i = 0; i < 2; i++) {
        char path[64], net[64] = "", want[128];
        host h;
        bool shared = plans[i].net_shared;
        ok(host_open(&h, &plans[i]), "a server with%s exceptions", shared ? "" : "out");
        snprintf(path, sizeof path, "/proc/%d/ns/net", (int)child_of(h.pid));
        ok(readlink(path, net, sizeof net - 1) > 0, "its container's network: %s", net);
        is_str(h.namespaces,
               shared ? "user,mnt,pid,ipc,uts,cgroup" : "user,mnt,pid,ipc,uts,net,cgroup",
               "namespaces");
        host_python(&h, code);
        snprintf(want, sizeof want, "0\n%s\n", net);
        if (shared)
            ok(is(&h, 0, want), "the container's network, and programs in /tmp");
        else
            ok(host_whole(&h) && has(&h.s.out, "Permission denied\n") &&
                   strstr(h.s.out.data, net) == NULL,
               "neither");
        host_close(&h);
    }
}

int main(void)
{
    if (!harness_open())
        return done_testing();
    test_reasons(MS_TIER_NAMESPACES);
    test_server_dies();
    test_threads();
    test_require();
    test_exceptions();
    harness_refuses_namespaces = true;
    test_reasons(MS_TIER_LANDLOCK);
    test_server_dies();
    harness_close();
    return done_testing();
}
