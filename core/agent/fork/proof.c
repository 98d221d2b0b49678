/* Whether the walls hold is not believed but tried: once for each server, a child in the place of
 * the program does what no program may. */
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "inner.h"

static bool child_made(long pid)
{
    if (pid == 0)
        raw_exit(0);
    return pid > 0;
}

static bool can_mount(void)
{
    return raw(mount, "tmpfs", "/tmp", "tmpfs", 0, 0) == 0;
}

static bool can_bind(void)
{
    return raw(mount, "/", "/tmp", 0, MS_BIND | MS_REC, 0) == 0;
}

static bool can_unshare(void)
{
    return raw(unshare, CLONE_NEWUSER) == 0 || raw(unshare, CLONE_NEWNS) == 0 ||
           raw(unshare, CLONE_NEWNET) == 0;
}

static bool can_clone3(void)
{
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    return child_made(raw(clone3, &args, sizeof args));
}

static bool can_clone(void)
{
    return child_made(raw(clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

static bool can_setns(void)
{
    long fd = open_path("/proc/self/ns/user", O_RDONLY);
    if (fd < 0)
        return false;
    /* To its own is refused by another errno than to others, but not by a filter. */
    long r = raw(setns, fd, 0);
    return r == 0 || r == -22;
}

static bool can_ptrace(void)
{
    return raw(ptrace, PTRACE_TRACEME, 0, 0, 0) == 0;
}

static bool can_raise_itself(void)
{
    return server.landlocked && open_path("/proc/self/oom_score_adj", O_WRONLY) >= 0;
}

static bool can_write_elsewhere(void)
{
    static const char places[][20] = {"/", "/var/tmp", "/run", "/dev", "/dev/mqueue", "/var/lock"};
    char path[64];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        text_add(text_add(path, places[i]), "/moonsand-proof");
        if (raw(openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0) {
            (void)raw(unlinkat, AT_FDCWD, path, 0);
            return true;
        }
    }
    return false;
}

/* The agent, the server and I. By the numbers they have outside: in a namespace of its own these
 * name nobody, or I, whom no signal from inside ends. */
static bool can_signal(void)
{
    if (server.tier == MS_TIER_NAMESPACES)
        return raw(kill, server.pid, 0) == 0;
    return raw(kill, 1, 0) == 0 || raw(kill, server.pid, 0) == 0 ||
           raw(kill, server.init_pid, 0) == 0;
}

static bool can_look(void)
{
    static const char files[][12] = {"/mem", "/environ", "/fd/3"};
    const int pids[] = {1, server.pid, server.init_pid};
    char path[64];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t k = 0; k < sizeof pids / sizeof *pids; k++) {
            char *end = text_number(text_add(path, "/proc/"), (uint64_t)pids[k]);
            text_add(end, files[i]);
            if (open_path(path, O_RDONLY) >= 0)
                return true;
        }
    return false;
}

static bool can_netlink(void)
{
    return raw(socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) >= 0 ||
           raw(socket, AF_PACKET, SOCK_DGRAM, 0) >= 0;
}

static bool can_keep(void)
{
    return raw(keyctl, 0, -3, 1) >= 0 || raw(shmget, 0, 4096, 01600) >= 0 ||
           raw(semget, 0, 1, 01600) >= 0 || raw(msgget, 0, 01600) >= 0;
}

/* The value of a line "name:\tvalue" of /proc/self/status. */
static const char *status_line(const char *status, const char *name)
{
    size_t n = text_len(name);
    for (const char *p = status; *p != 0; p++) {
        size_t i = 0;
        while (i < n && p[i] == name[i])
            i++;
        if (i == n && (p == status || p[-1] == '\n')) {
            p += n;
            while (*p == '\t' || *p == ' ')
                p++;
            return p;
        }
    }
    return 0;
}

static bool is_number(const char *at, uint64_t base, uint64_t want)
{
    uint64_t v = 0;
    if (at == 0)
        return false;
    for (; *at != 0 && *at != '\n'; at++)
        v = v * base + (uint64_t)(*at >= 'a' ? *at - 'a' + 10 : *at - '0');
    return v == want;
}

static bool has_privilege(void)
{
    static const char sets[][8] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
    char status[4096];
    if (get_file("/proc/self/status", status, sizeof status) <= 0)
        return true;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (!is_number(status_line(status, sets[i]), 16, 0))
            return true;
    return !is_number(status_line(status, "NoNewPrivs:"), 10, 1) ||
           !is_number(status_line(status, "Seccomp:"), 10, 2);
}

static const struct {
    bool (*breaks)(void);
    char what[40];
} attempts[] = {
    {can_mount, "a run can mount"},
    {can_bind, "a run can bind directories"},
    {can_unshare, "a run can unshare"},
    {can_clone3, "a run can clone3"},
    {can_clone, "a run can clone namespaces"},
    {can_setns, "a run can setns"},
    {can_raise_itself, "a run can write to /proc"},
    {can_write_elsewhere, "a run can write outside /tmp"},
    {can_signal, "a run can signal its keepers"},
    {can_look, "a run can look at its keepers"},
    {can_netlink, "a run can use netlink"},
    {can_keep, "a run can leave keys or SysV IPC"},
    {has_privilege, "a run has privileges"},
    {can_ptrace, "a run can ptrace"},
};

#define ATTEMPTS (sizeof attempts / sizeof *attempts)
#define NOT_CONFINED 200

static _Noreturn void try_all(void)
{
    (void)raw(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (server.tier == MS_TIER_LANDLOCK && walls_landlock_enter() < 0)
        raw_exit(NOT_CONFINED);
    for (size_t i = 0; i < ATTEMPTS; i++)
        if (attempts[i].breaks())
            raw_exit((int)i + 1);
    raw_exit(0);
}

bool walls_hold(void)
{
    int status = 0;
    /* Its memory is a copy: what it breaks is its own. */
    long pid = raw(clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        try_all();
    if (pid < 0)
        return wrong("proof: clone", pid);
    while (raw(wait4, pid, &status, __WALL, 0) == -4)
        continue;
    if (!WIFEXITED(status))
        return wrong("proof: ended by a signal", -1);
    size_t code = (size_t)WEXITSTATUS(status);
    if (code == NOT_CONFINED)
        return wrong("proof: cannot enter the walls", -1);
    return code == 0 || wrong(code <= ATTEMPTS ? attempts[code - 1].what : "proof", -1);
}
