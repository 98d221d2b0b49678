#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "json.h"
#include "moonsand.h"

/* Sets a member and takes over value; a NULL value means that it could not be made. */
static int put(json_t *o, const char *key, json_t *value)
{
    return json_object_set_new(o, key, value);
}

static json_t *text_or_null(const char *s)
{
    json_t *v = s ? json_string(s) : json_null();
    return v ? v : json_null(); /* bytes that are no UTF-8 */
}

static int put_line(json_t *o, const char *key, const char *path)
{
    char *line = ms_file_line(path);
    int rc = put(o, key, text_or_null(line));
    ms_free(line);
    return rc;
}

/* null where the kernel has no such switch: that differs from 0. */
static int put_number(json_t *o, const char *key, const char *path)
{
    char *line = ms_file_line(path), *end = NULL;
    long long v = line ? strtoll(line, &end, 10) : 0;
    int rc = put(o, key, line && end != line ? json_integer(v) : json_null());
    ms_free(line);
    return rc;
}

/* Adds the words of text to list. */
static int add_words(json_t *list, char *text, const char *separators)
{
    char *save = NULL;
    for (char *w = text ? strtok_r(text, separators, &save) : NULL; w;
         w = strtok_r(NULL, separators, &save))
        if (json_array_append_new(list, text_or_null(w)))
            return -1;
    return 0;
}

/* ---- what only trying tells ---- */

/* Runs what() in a child, since it cannot be undone, and gives what it returned; -1 when there was
 * no child. The answer comes through a pipe: the host may reap children before we can ask. */
static int try_in_child(int (*what)(void))
{
    int fds[2], answer = -1;
    if (pipe2(fds, O_CLOEXEC))
        return -1;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid == 0) {
        int got = what();
        _exit(write(fds[1], &got, sizeof got) == (ssize_t)sizeof got ? 0 : 1);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(fds[1]);
    if (pid > 0) {
        ssize_t n;
        do
            n = read(fds[0], &answer, sizeof answer);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t)sizeof answer)
            answer = -1;
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    close(fds[0]);
    return answer;
}

/* As any user, since root may always. AppArmor's restriction lets the first call pass and takes the
 * capabilities away, so that only the second one fails. Returns an errno. */
static int try_userns(void)
{
    if (geteuid() == 0 &&
        (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, 65534, 65534, 65534) ||
         syscall(SYS_setresuid, 65534, 65534, 65534)))
        return errno;
    if (unshare(CLONE_NEWUSER) || unshare(CLONE_NEWUTS))
        return errno;
    return 0;
}

/* linux/landlock.h is younger than the systems that this must compile on. */
#define LANDLOCK_VERSION_FLAG 1U
#define LANDLOCK_READ_FILE (UINT64_C(1) << 2)
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif

/* 0 when a ruleset really keeps a file from being opened. */
static int try_landlock(void)
{
    uint64_t handled = LANDLOCK_READ_FILE;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_landlock_restrict_self, fd, 0))
        return errno;
    fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    return fd < 0 && errno == EACCES ? 0 : ENOTSUP;
}

static json_t *landlock(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);
    int why = abi > 0 ? try_in_child(try_landlock) : ENOSYS;
    return json_pack("{s:I,s:b}", "abi", (json_int_t)(abi > 0 ? abi : 0), "works", why == 0);
}

static json_t *userns(void)
{
    int why = try_in_child(try_userns);
    json_t *o = json_pack("{s:b,s:s?}", "works", why == 0, "error",
                          why == 0  ? NULL
                          : why > 0 ? strerror(why)
                                    : "could not be tried");
    if (o && (put_number(o, "max_user_namespaces", "/proc/sys/user/max_user_namespaces") ||
              put_number(o, "apparmor_restrict_unprivileged_userns",
                         "/proc/sys/kernel/apparmor_restrict_unprivileged_userns") ||
              put_number(o, "unprivileged_userns_clone",
                         "/proc/sys/kernel/unprivileged_userns_clone"))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* ---- cgroups ---- */

static bool is_cgroup2(const char *path)
{
    struct statfs st;
    return statfs(path, &st) == 0 && st.f_type == CGROUP2_SUPER_MAGIC;
}

ms_cgroup_mode ms_host_cgroup_mode(void)
{
    if (is_cgroup2("/sys/fs/cgroup"))
        return MS_CGROUP_V2;
    bool v1 = access("/sys/fs/cgroup/memory", F_OK) == 0 || access("/sys/fs/cgroup/cpu", F_OK) == 0;
    if (v1)
        return is_cgroup2("/sys/fs/cgroup/unified") ? MS_CGROUP_HYBRID : MS_CGROUP_V1;
    return MS_CGROUP_NONE;
}

/* Version 1: lines "name hierarchy cgroups enabled" of /proc/cgroups. A hierarchy of 0 is not
 * mounted, so nobody can use it. */
static int add_v1_controllers(json_t *list)
{
    ms_buf b = {0};
    char *save = NULL;
    int rc = 0;
    if (ms_file_read(&b, "/proc/cgroups", 65536, NULL) == 0 && b.data)
        for (char *line = strtok_r(b.data, "\n", &save); line && rc == 0;
             line = strtok_r(NULL, "\n", &save)) {
            char name[64];
            unsigned hierarchy, count, enabled;
            if (sscanf(line, "%63s %u %u %u", name, &hierarchy, &count, &enabled) == 4 &&
                hierarchy > 0 && enabled)
                rc = json_array_append_new(list, text_or_null(name));
        }
    ms_buf_free(&b);
    return rc;
}

static json_t *cgroup(void)
{
    static const char *const names[] = {"none", "v1", "hybrid", "v2"};
    ms_cgroup_mode mode = ms_host_cgroup_mode();
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    if (rc == 0 && mode == MS_CGROUP_V2) {
        char *line = ms_file_line("/sys/fs/cgroup/cgroup.controllers");
        rc = add_words(list, line, " ");
        ms_free(line);
    } else if (rc == 0) {
        rc = add_v1_controllers(list);
    }
    if (rc) {
        json_decref(list);
        return NULL;
    }
    int version = mode == MS_CGROUP_V2 ? 2 : mode == MS_CGROUP_NONE ? 0 : 1;
    return json_pack("{s:i,s:s,s:o}", "version", version, "mode", names[mode], "controllers", list);
}

/* ---- the rest ---- */

static int cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1024 of them do not fit the set */
    return n > 0 ? (int)n : 1;
}

static json_int_t kib_of(const char *meminfo, const char *key)
{
    const char *p = meminfo ? strstr(meminfo, key) : NULL;
    return p ? (json_int_t)strtoll(p + strlen(key), NULL, 10) * 1024 : 0;
}

static int put_memory(json_t *o)
{
    ms_buf b = {0};
    ms_file_read(&b, "/proc/meminfo", 65536, NULL);
    int rc = put(o, "memory_bytes", json_integer(kib_of(b.data, "MemTotal:"))) ||
             put(o, "memory_available_bytes", json_integer(kib_of(b.data, "MemAvailable:"))) ||
             put(o, "swap_bytes", json_integer(kib_of(b.data, "SwapTotal:")));
    ms_buf_free(&b);
    return rc;
}

/* A piped pattern hands each crash of a container to a program on this machine, as root. */
static json_t *core_pattern(void)
{
    char *line = ms_file_line("/proc/sys/kernel/core_pattern");
    json_t *o =
        json_pack("{s:o,s:b}", "pattern", text_or_null(line), "piped", line && line[0] == '|');
    ms_free(line);
    return o;
}

static json_t *lsm(void)
{
    json_t *list = json_array();
    char *line = ms_file_line("/sys/kernel/security/lsm");
    if (list && add_words(list, line, ",")) {
        json_decref(list);
        list = NULL;
    }
    ms_free(line);
    return list;
}

static json_t *disk(void)
{
    static const char *const dirs[] = {"/var/lib", "/tmp", NULL};
    json_t *o = json_object();
    for (size_t i = 0; o && dirs[i]; i++) {
        struct statvfs st;
        if (statvfs(dirs[i], &st))
            continue;
        json_t *d = json_pack(
            "{s:I,s:I,s:I}", "free_bytes", (json_int_t)(st.f_bavail * st.f_frsize), "total_bytes",
            (json_int_t)(st.f_blocks * st.f_frsize), "free_inodes", (json_int_t)st.f_favail);
        if (put(o, dirs[i], d)) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static int fill(json_t *o)
{
    struct utsname u;
    if (uname(&u))
        return -1;
    return put(o, "kernel", text_or_null(u.release)) || put(o, "arch", text_or_null(u.machine)) ||
           put(o, "uid", json_integer((json_int_t)geteuid())) ||
           put(o, "cpus", json_integer(cpus())) || put_memory(o) || put(o, "cgroup", cgroup()) ||
           put(o, "landlock", landlock()) || put(o, "userns", userns()) || put(o, "lsm", lsm()) ||
           put(o, "core_pattern", core_pattern()) || put(o, "disk", disk()) ||
           put_line(o, "boot_id", "/proc/sys/kernel/random/boot_id") ||
           put_line(o, "machine_id", "/etc/machine-id");
}

int moonsand_host_facts(char **out, moonsand_error **err)
{
    *out = NULL;
    ms_buf b = {0};
    json_t *o = json_object();
    int rc = !o || fill(o) ? ms_fail_nomem(err) : ms_json_write(&b, o, false, err);
    json_decref(o);
    if (rc == 0)
        *out = b.data;
    else
        ms_buf_free(&b);
    return rc ? ms_error_op(err, "host facts") : 0;
}
