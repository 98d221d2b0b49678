/* Owner labels, uids that are taken by one at a time, random names. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "owner.h"
#include "tap.h"

static const int64_t past = 1;

static bool alive(const char *a, const char *b, const char *c, int64_t lease)
{
    char *label = ms_asprintf("%s/%s/%s", a, b, c);
    bool l = moonsand_owner_alive(label, lease);
    ms_free(label);
    return l;
}

static void labels(void)
{
    int64_t future = (int64_t)time(NULL) + 3600;
    char *own = ms_owner_label(NULL);
    ok(own != NULL, "label %s", own ? own : "");
    if (!own)
        return;
    ok(moonsand_owner_alive(own, past), "we are alive, whatever the lease says");
    char part[5][64];
    const char *p = own;
    size_t n = 0;
    for (; n < 5; n++) {
        size_t len = strcspn(p, "/");
        (void)snprintf(part[n], sizeof part[n], "%.*s", (int)len, p);
        p += len + (p[len] == '/');
    }
    ok(*p == 0 && strlen(part[1]) == 36, "five parts, the second a boot id");
    char *tail = ms_asprintf("%s/%s/%s", part[2], part[3], part[4]);
    char *late = ms_asprintf("%s/%s/%s9", part[2], part[3], part[4]);
    char *other_ns = ms_asprintf("1/%s/%s", part[3], part[4]);
    static const char other[] = "00000000-0000-0000-0000-000000000000";
    static const char machine[] = "ffffffffffffffffffffffffffffffff";
    ok(alive(part[0], part[1], tail, past), "put together again: alive");
    ok(!alive(part[0], part[1], late, future), "the pid was used again: dead");
    ok(alive(part[0], part[1], other_ns, future), "another process namespace, lease runs: alive");
    ok(!alive(part[0], part[1], other_ns, past), "another process namespace, lease over: dead");
    if (strcmp(part[0], "-") != 0)
        ok(!alive(part[0], other, tail, future), "this machine, before it was booted: dead");
    else
        skip("this machine has no id");
    ok(alive(machine, other, tail, future), "another machine, lease runs: alive");
    ok(!alive(machine, other, tail, past), "another machine, lease over: dead");
    ok(alive("-", other, tail, future), "a machine without an id, lease runs: alive");
    ok(alive("-", part[1], tail, past), "the same boot without a machine id: alive");
    ms_free(tail);
    ms_free(late);
    ms_free(other_ns);
    ms_free(own);

    static const char *const odd[] = {
        "",          "/",           "////",      "a/b/c/d/e",
        "a/b/1/2",   "a/b/1/2/3/4", "a/b/1/0/3", "a/b/1/99999999999999999999/3",
        "a/b/-1/2/3"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        ok(moonsand_owner_alive(odd[i], future) && !moonsand_owner_alive(odd[i], past),
           "\"%s\" says nothing: the lease counts", odd[i]);
    ok(moonsand_owner_alive(NULL, future) && !moonsand_owner_alive(NULL, past), "no label");
}

static void a_child(void)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC))
        return;
    pid_t pid = fork();
    if (pid == 0) {
        char *label = ms_owner_label(NULL);
        ssize_t n = label ? write(fds[1], label, strlen(label)) : 0;
        (void)n;
        for (;;)
            (void)pause();
    }
    char label[256];
    ssize_t n = read(fds[0], label, sizeof label - 1);
    label[n > 0 ? n : 0] = 0;
    ok(moonsand_owner_alive(label, past), "a child is alive: %s", label);
    (void)kill(pid, SIGKILL);
    siginfo_t info;
    (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    ok(!moonsand_owner_alive(label, past), "dead as a zombie");
    (void)waitpid(pid, NULL, 0);
    ok(!moonsand_owner_alive(label, past), "dead when it is gone");
    close(fds[0]);
    close(fds[1]);
}

static void uids(void)
{
    uint32_t uid[3], again;
    int fd[3], other;
    for (size_t i = 0; i < 3; i++)
        is_int(ms_uid_take(&uid[i], &fd[i], 1999990, 1999992, NULL), 0, "uid %zu", i);
    ok(uid[0] != uid[1] && uid[1] != uid[2] && uid[0] != uid[2], "three different ones");
    bool within = true;
    for (size_t i = 0; i < 3; i++)
        within &= uid[i] >= 1999990 && uid[i] <= 1999992;
    ok(within, "within the bounds");
    ok((fcntl(fd[0], F_GETFD) & FD_CLOEXEC) != 0, "close on exec");
    moonsand_error *err = NULL;
    ok(ms_uid_take(&again, &other, 1999990, 1999992, &err) == -1 && other == -1, "no fourth: %s",
       moonsand_error_message(err));
    is_int(moonsand_error_code(err), MOONSAND_E_CONFLICT, "as a conflict");
    moonsand_error_free(err);
    close(fd[1]);
    is_int(ms_uid_take(&again, &other, 1999990, 1999992, NULL), 0, "free again");
    is_int(again, uid[1], "the one that was given back");
    close(other);
    close(fd[0]);
    close(fd[2]);
    is_int(ms_uid_take(&again, &other, 2, 1, NULL), -1, "no range");
    is_int(ms_uid_take(&again, &other, 0, UINT32_MAX, NULL), 0, "the whole range");
    close(other);
}

static void random_names(void)
{
    char a[33], b[33], one[3], none[1];
    is_int(ms_random_hex(a, 16, NULL), 0, "random");
    is_int(ms_random_hex(b, 16, NULL), 0, "random");
    ok(strlen(a) == 32 && strspn(a, "0123456789abcdef") == 32, "32 hex digits: %s", a);
    ok(strcmp(a, b) != 0, "not the same twice");
    is_int(ms_random_hex(one, 1, NULL), 0, "one byte");
    is_int(strlen(one), 2, "two digits");
    is_int(ms_random_hex(none, 0, NULL), 0, "no byte");
    is_str(none, "", "no digit");
    /* Each half of each byte takes each value; a wrong overlap would repeat digits. */
    unsigned seen = 0, differ = 0;
    for (int i = 0; i < 200; i++) {
        (void)ms_random_hex(a, 16, NULL);
        for (size_t k = 0; k < 32; k++)
            seen |= 1u << (a[k] <= '9' ? a[k] - '0' : a[k] - 'a' + 10);
        differ += memcmp(a, a + 16, 16) != 0;
    }
    ok(seen == 0xffff && differ == 200, "all digits come up");
}

int main(void)
{
    labels();
    a_child();
    uids();
    random_names();
    return done_testing();
}
