#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "owner.h"
#include "seccomp_names.h"
#include "seccomp_rules.h"
#include "spec.h"

typedef struct rule {
    const char *name;
    ms_seccomp_arg args[MS_SECCOMP_ARGS];
    size_t count;
} rule;

static const rule rules[] = {
#define X(name, count, ...) {#name, {__VA_ARGS__}, count},
    MS_SECCOMP_RULES(X)
#undef X
};

static int put_rule(ms_buf *b, const rule *r)
{
    if (ms_buf_addf(b, ",{\"names\":[\"%s\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[", r->name))
        return -1;
    for (size_t i = 0; i < r->count; i++) {
        const ms_seccomp_arg *a = &r->args[i];
        const char *comma = i ? "," : "";
        int rc = a->mask ? ms_buf_addf(b,
                                       "%s{\"index\":%u,\"value\":%llu,\"valueTwo\":%llu,"
                                       "\"op\":\"SCMP_CMP_MASKED_EQ\"}",
                                       comma, a->index, (unsigned long long)a->mask,
                                       (unsigned long long)a->value)
                         : ms_buf_addf(b,
                                       "%s{\"index\":%u,\"value\":%llu,\"valueTwo\":0,"
                                       "\"op\":\"SCMP_CMP_EQ\"}",
                                       comma, a->index, (unsigned long long)a->value);
        if (rc)
            return -1;
    }
    return ms_buf_adds(b, "]}");
}

/* What the agent and the fork server of a container call besides, to give each run its walls; the
 * run itself has the plain filter on top, which the agent brings along. */
#define SERVER_NAMES "\"clone3\",\"mount\","

static int put_profile(ms_buf *b, const char *architecture, bool server)
{
    static const char *const names[] = {
#define X(name) #name,
        MS_SECCOMP_NAMES(X)
#undef X
    };
    /* EPERM and never a kill: a C library that tries something new must be able to fall back. */
    if (ms_buf_addf(
            b,
            "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"%s\"],\"syscalls\":["
            "{\"names\":[%s",
            architecture, server ? SERVER_NAMES : ""))
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (ms_buf_addf(b, "%s\"%s\"", i ? "," : "", names[i]))
            return -1;
    }
    if (ms_buf_adds(b, "],\"action\":\"SCMP_ACT_ALLOW\"}") ||
        (!server && ms_buf_addf(b,
                                ",{\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_ERRNO\","
                                "\"errnoRet\":%d}",
                                MS_SECCOMP_CLONE3_ERRNO)))
        return -1;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (put_rule(b, &rules[i]))
            return -1;
    }
    return ms_buf_adds(b, "]}");
}

int ms_seccomp_json(ms_buf *out, const char *arch, bool server, moonsand_error **err)
{
    const char *a = NULL;
    if (arch && (strcmp(arch, "x86_64") == 0 || strcmp(arch, "amd64") == 0))
        a = "SCMP_ARCH_X86_64";
    else if (arch && (strcmp(arch, "aarch64") == 0 || strcmp(arch, "arm64") == 0))
        a = "SCMP_ARCH_AARCH64";
    if (!a)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "the engine runs on %.32s; moonsand has a seccomp profile for amd64 and "
                       "arm64 only",
                       arch ? arch : "an unknown architecture");
    return put_profile(out, a, server) ? ms_fail_nomem(err) : 0;
}

/* ---- the file for Podman ------------------------------------------------------------------ */

static int open_dir(char **path, moonsand_error **err)
{
    *path = NULL;
    const char *top = geteuid() == 0 ? "/run" : secure_getenv("XDG_RUNTIME_DIR");
    if (!top || top[0] != '/')
        return ms_fail(
            err, MOONSAND_E_UNSUPPORTED,
            "Podman reads the seccomp profile from a file, and XDG_RUNTIME_DIR, where it "
            "would go, is not set");
    char *dir = ms_asprintf("%s/moonsand", top);
    if (!dir)
        return ms_fail_nomem(err);
    struct stat st;
    int fd = -1;
    if (mkdir(dir, 0700) && errno != EEXIST) {
        ms_fail_errno(err, errno, "mkdir %s", dir);
    } else if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0 ||
               fstat(fd, &st)) {
        ms_fail_errno(err, errno, "%s", dir);
    } else if (st.st_uid != geteuid() || (st.st_mode & 022)) {
        ms_fail(err, MOONSAND_E_IO, "%s is not ours alone (owner %u, mode %o); remove it", dir,
                (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
    } else {
        *path = dir;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    ms_free(dir);
    return -1;
}

static bool file_is(int dir, const char *name, const ms_buf *want)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct stat st;
    bool same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
                !(st.st_mode & 022) && st.st_size == (off_t)want->len;
    size_t at = 0;
    while (same && at < want->len) {
        char piece[4096];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        same =
            n > 0 && (size_t)n <= want->len - at && memcmp(piece, want->data + at, (size_t)n) == 0;
        at += same ? (size_t)n : 0;
    }
    close(fd);
    return same;
}

/* Complete under its name or not there at all, whoever else writes it at the same time. */
static int file_write(int dir, const char *name, const ms_buf *text, moonsand_error **err)
{
    char own[32] = ".new-";
    if (ms_random_hex(own + 5, 8, err))
        return -1;
    int fd = openat(dir, own, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
    if (fd < 0)
        return ms_fail_errno(err, errno, "seccomp profile %s", name);
    /* Whatever the umask is. */
    int rc = ms_write_all(fd, text->data, text->len) || fchmod(fd, 0444);
    int why = errno;
    if (close(fd) && !rc) {
        rc = -1;
        why = errno;
    }
    if (!rc && renameat(dir, own, dir, name)) {
        rc = -1;
        why = errno;
    }
    if (!rc)
        return 0;
    unlinkat(dir, own, 0);
    return ms_fail_errno(err, why, "seccomp profile %s", name);
}

static uint64_t fnv1a(const ms_buf *b)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < b->len; i++)
        h = (h ^ (unsigned char)b->data[i]) * 0x100000001b3u;
    return h;
}

int ms_seccomp_file(char **path, const char *arch, bool server, moonsand_error **err)
{
    *path = NULL;
    ms_buf text = {0};
    char *dir_path = NULL, *name = NULL;
    int rc = -1, dir = -1;
    if (ms_seccomp_json(&text, arch, server, err) || (dir = open_dir(&dir_path, err)) < 0)
        goto end;
    /* The hash only keeps versions apart; the bytes are compared below. */
    name = ms_asprintf("seccomp-%016llx.json", (unsigned long long)fnv1a(&text));
    *path = name ? ms_asprintf("%s/%s", dir_path, name) : NULL;
    if (!*path) {
        ms_fail_nomem(err);
        goto end;
    }
    rc = file_is(dir, name, &text) ? 0 : file_write(dir, name, &text, err);
end:
    if (rc) {
        ms_free(*path);
        *path = NULL;
    }
    if (dir >= 0)
        close(dir);
    ms_free(dir_path);
    ms_free(name);
    ms_buf_free(&text);
    return rc;
}
